"""What one reader made of one image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from napari_lungseg.blind import BlindReading
from napari_lungseg.errors import InputError
from napari_lungseg.labels import plain_name
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Case, Saved, Workspace


@dataclass(frozen=True, eq=False)
class Reading:
    """One reader's mask of one image.

    Attributes
    ----------
    reader : str
        Who reviewed or saved last.
    case : Case
        Of which image.
    saved : Saved
        The mask.
    reviewed : frozenset of int
        Slices that the reader stands for.
    blind : mapping of int to BlindReading
        Those that were read without the model's mask, and how far from it.
    """

    reader: str
    case: Case
    saved: Saved
    reviewed: frozenset[int]
    blind: Mapping[int, BlindReading] = field(default_factory=dict)

    @property
    def names(self) -> Mapping[int, str]:
        """What the labels are called."""
        return {} if self.saved.source is None else self.saved.source.names

    @property
    def volume(self) -> Volume:
        """The labels, with their names."""
        return Volume(self.saved.labels, self.case.affine, names=dict(self.names) or None)


def only(volume: Volume, axis: int, slices: Iterable[int]) -> Volume:
    """The labels of some slices; 0 in all others."""
    labels, where = volume.array * 0, (slice(None),) * axis + (list(slices),) if volume.ndim == 3 else ()
    labels[where] = volume.array[where]
    return replace(volume, array=labels)


def check_names(one: Mapping[int, str], other: Mapping[int, str], what: str) -> None:
    """Refuse labels of which one means two things (InputError)."""
    for label, name in other.items():
        if plain_name(one.get(label, name)) != plain_name(name):
            raise InputError(
                say(
                    "{what}: label {label} is {one!r} in one mask and {name!r} in the other.",
                    what=what,
                    label=label,
                    one=one[label],
                    name=name,
                )
            )


def find_reading(workspace: Workspace, content: str) -> Reading | None:
    """The mask that a workspace holds of an image; None if it has none.

    Parameters
    ----------
    workspace : Workspace
        A reader's.
    content : str
        The case's, as in :class:`~napari_lungseg.workspace.Case`.

    Raises
    ------
    WorkspaceError
        When the workspace cannot be read.
    """
    case = workspace.find(content)
    saved = None if case is None else workspace.load(case)
    if case is None or saved is None:
        return None
    states = workspace.states(case)
    users = [event.user for event in workspace.record(case) if event.kind in ("saved", "state")]
    blind = {index: known.blind for index, known in states.items() if isinstance(known.blind, BlindReading)}
    reviewed = frozenset(index for index, known in states.items() if known.state == "reviewed")
    return Reading(users[-1] if users else workspace.user, case, saved, reviewed, blind)


def shared_cases(workspaces: Sequence[Workspace]) -> list[Case]:
    """Cases of which at least two workspaces have reviewed slices, as the first of these knows them.

    Raises
    ------
    InputError
        When there is none, or a workspace is given twice.
    """
    if len({workspace.folder.resolve() for workspace in workspaces}) < len(workspaces):
        raise InputError("A workspace is given twice; each reader needs one of their own.")
    known: dict[str, list[Case]] = {}
    for workspace in workspaces:
        for summary in workspace.cases():
            if summary.reviewed:
                known.setdefault(summary.case.content, []).append(summary.case)
    found = [cases[0] for cases in known.values() if len(cases) > 1]
    if not found:
        folders = " and ".join(str(workspace.folder) for workspace in workspaces)
        raise InputError(f"No image has slices that were reviewed in two of {folders}; accept slices in Review first.")
    return found
