"""What waits to be saved of a mask, and how saving stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napari_lungseg.annotation import MODEL_CAUSES
from napari_lungseg.workspace import Case, Workspace

#: Writes something about a case into the workspace.
Note = Callable[[Workspace, Case], None]


@dataclass(frozen=True)
class Status:
    """How saving stands.

    Attributes
    ----------
    safe : bool
        Whether everything is on disk, or on its way there.
    text : str
        For the person.
    """

    safe: bool
    text: str


@dataclass
class Waiting:
    """What waits to be saved of one target.

    Attributes
    ----------
    causes : dict
        Why each slice waits.
    percent : set
        Slices that wait with their probability.
    notes : list of Note
        What else is to be written, after the slices.
    due : float
        From when on the model's part may be saved.
    failure : str
        Why it could not be saved, for the person.
    tries : int
        How often it could not.
    again : float
        When it is tried again.
    """

    causes: dict[int, str] = field(default_factory=dict)
    percent: set[int] = field(default_factory=set)
    notes: list[Note] = field(default_factory=list)
    due: float = 0.0
    failure: str = ""
    tries: int = 0
    again: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.causes or self.notes)

    def when(self) -> float:
        """When there is something to do."""
        if self.failure:
            return self.again
        return self.due if not self.notes and MODEL_CAUSES.issuperset(self.causes.values()) else 0.0

    def take(self, now: float) -> Waiting:
        """Take out what is to be saved now: everything, or what a person has changed; the rest stays."""
        due = [index for index, cause in self.causes.items() if self.due <= now or cause not in MODEL_CAUSES]
        taken = Waiting({index: self.causes.pop(index) for index in due}, self.percent.intersection(due), self.notes)
        self.percent -= taken.percent
        self.notes = []
        return taken

    def put_back(self, other: Waiting) -> None:
        """Let what could not be saved wait again, except where it has changed since."""
        self.causes = other.causes | self.causes
        self.percent |= other.percent
        self.notes = other.notes + self.notes
