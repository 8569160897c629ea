"""The button Apply: a tool on a slice at once, on a volume in the background, after a click where one is needed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.edit.tool import Change, Tool, carry_out, restricted
from napari_lungseg.errors import InputError
from napari_lungseg.steps import Step
from napari_lungseg.widgets.causes import told_step
from napari_lungseg.widgets.correct.controls import CorrectControls
from napari_lungseg.widgets.correct.pick import Picker
from napari_lungseg.widgets.correct.tool_run import ToolRun
from napari_lungseg.widgets.correct.work import gather
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.notices import show_warning
from napari_lungseg.widgets.worker import Failure, sentence

if TYPE_CHECKING:
    import napari.viewer


class Applying(QObject):
    """Runs the chosen tool on a result's mask, one at a time.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        What is displayed.
    controls : CorrectControls
        What is chosen.
    """

    #: A tool has ended. The text says what went wrong, and is empty if nothing did.
    ended = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer, controls: CorrectControls) -> None:
        super().__init__(controls)
        self._viewer, self._label, self._form = viewer, controls.label, controls.tools
        self._result: MaskLayer | None = None
        self._picker: Picker | None = None
        self._run: ToolRun | None = None
        self._written: Step | None = None
        self._form.apply.changed.connect(self._pressed)
        self._form.tool.changed.connect(self.disarm)

    @property
    def busy(self) -> bool:
        """Whether a tool is at work."""
        return self._run is not None

    def hold(self, result: MaskLayer | None) -> None:
        """Work on another result; what is running ends without a word."""
        self.disarm()
        if self._run is not None:
            self._run.cancel()
            self._end("", "")
        if self._result is not None:
            self._result.stepped.disconnect(self._stepped)
        self._result = result
        if result is not None:
            result.stepped.connect(self._stepped)

    def disarm(self) -> None:
        """Wait for no click any more."""
        if self._picker is not None:
            self._picker.close()
            self._picked(None)

    def _pressed(self) -> None:
        if self._run is not None:
            if self._written is None:
                self._run.cancel()
                self._end(tr("Cancelled."), tr("Cancelled."))
            return
        if self._picker is not None:
            self.disarm()
            return
        if self._result is None or self._result.lungs is None:
            return
        tool = self._form.chosen
        if not tool.picks:
            self._apply(tool)
        elif self._viewer.dims.ndisplay == 3:
            self._refuse(tr("The canvas shows the volume in 3-D; show slices to click on one."))
        else:
            self._picker = Picker(self._viewer, self._result.lungs, self._picked)
            self._form.apply.text = tr("Cancel")
            self._form.tell(tr("Click on the part that is meant; Escape ends."))

    def _picked(self, voxel: tuple[int, ...] | None) -> None:
        self._picker = None
        self._form.apply.text = tr("Apply")
        self._form.tell("")
        if voxel is not None:
            self._apply(self._form.chosen, voxel)

    def _apply(self, tool: Tool, at: tuple[int, ...] | None = None) -> None:
        result, form = self._result, self._form
        assert result is not None
        try:
            work, document = gather(self._viewer, result, tool, form.where.value, self._label.value, form.values(), at)
            allowed = None if result.allowed is None else partial(result.allowed, document)
            if work.labels.ndim == 2:
                change = carry_out(tool, work)
                self._made(tool, document, restricted(change, allowed) if change is not None and allowed is not None else change)
                return
        except InputError as error:
            self._refuse(tr(str(error)))
            return
        self._run = ToolRun(tool, work, document, allowed)
        self._run.progressed.connect(form.show_progress)
        self._run.ended.connect(self._computed)
        form.show_running(True)
        form.tell(f"{tr(tool.label)} …")
        self._run.start()

    def _made(self, tool: Tool, document: MaskDocument, change: Change | None) -> None:
        """Write what was made of a slice."""
        assert self._result is not None
        if change is not None:
            self._result.edit_now(document, change.box, change.before, change.after, tool.label)
        self._end(_told(tool, change), "")

    def _computed(self, made: Change | Failure | None) -> None:
        """Write what was made of a volume."""
        run, result = self._run, self._result
        assert run is not None
        assert result is not None
        if not result.has_lungs(self._viewer):
            self._end("", "")
        elif isinstance(made, Failure):
            self._refuse(made.text)
        elif made is None:
            self._end(_told(run.tool, None), "")
        else:
            self._form.show_progress(0, 0)
            done, failed = partial(self._all_written, run, made), partial(self._not_written, run)
            self._written = result.edit(run.document, made.box, made.before, made.after, run.tool.label, done, failed)

    def _all_written(self, run: ToolRun, change: Change) -> None:
        if run is self._run:
            self._end(_told(run.tool, change), "")

    def _not_written(self, run: ToolRun, error: Exception) -> None:
        text = tr("{problem} Undo takes back what was written.", problem=sentence(error, run.tool.label))
        if run is self._run:
            self._refuse(text)
        else:
            show_warning(text)

    def _stepped(self, step: Step, forward: bool) -> None:
        if step is self._written:
            self._end("", "")
        self._form.tell(told_step(step, forward))

    def _refuse(self, sentence: str) -> None:
        show_warning(sentence)
        self._end(sentence, sentence)

    def _end(self, text: str, why: str) -> None:
        self._run = self._written = None
        self._form.show_running(False)
        self._form.tell(text)
        self.ended.emit(why)


def _told(tool: Tool, change: Change | None) -> str:
    if change is None:
        return tr("{tool}: nothing to change.", tool=tr(tool.label))
    return tr("{tool}: {count:,} voxels changed.", tool=tr(tool.label), count=np.count_nonzero(change.before != change.after))
