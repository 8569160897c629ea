"""What a step of the history did, as the person reads it; the journal has it in English."""

from __future__ import annotations

from napari_lungseg.steps import Step
from napari_lungseg.translation import mark
from napari_lungseg.widgets.language import tr

#: All others, but those by tools, which are the tools' own names; here they only get into the catalogue.
CAUSES = (
    *(mark("segment"), mark("segment again"), mark("threshold"), mark("post-processing"), mark("undo"), mark("redo")),
    *(mark("paint"), mark("edit"), mark("add region"), mark("remove region"), mark("brought back"), mark("data replaced")),
    *(mark("accept"), mark("flag"), mark("reject"), mark("open again"), mark("give back to the model")),
    *(mark("import"), mark("restored"), mark("another workspace"), mark("image replaced")),
)
#: Causes that begin with one of these name somebody after it.
_NAMING = (mark("taken from {name}"), mark("consensus of {name}"))


def shown_cause(cause: str) -> str:
    """A cause in the language of the window."""
    for template in _NAMING:
        start = template.partition("{")[0]
        if cause.startswith(start):
            return tr(template, name=cause.removeprefix(start))
    return tr(cause)


def told_step(step: Step, forward: bool) -> str:
    """Say that a step was undone, or done again."""
    cause = shown_cause(step.cause)
    return tr("Done again: {step}.", step=cause) if forward else tr("Undone: {step}.", step=cause)
