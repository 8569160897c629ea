"""Make the mask of a stored probability anew, in the background; the latest wish wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_lungseg.mask import MaskSettings
from napari_lungseg.steps import Step
from napari_lungseg.volume import Array
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.worker import Failed, sentence

if TYPE_CHECKING:
    from napari_lungseg.widgets.frames import Frame
    from napari_lungseg.widgets.results import Result


@dataclass(frozen=True, eq=False)
class Wish:
    """A mask that is wanted.

    Attributes
    ----------
    frame : Frame
        Of which volume.
    settings : MaskSettings
        How.
    first : int
        Slice along the array's first axis to show first.
    step : Step or None
        To which change of the mask this belongs; None if it cannot be undone.
    done : callable
        Called with the number of labelled voxels once the mask is written, or with the reason why there is none; not
        called if a later wish overtakes this one.
    """

    frame: Frame
    settings: MaskSettings
    first: int
    step: Step | None
    done: Callable[[int | Failed], None]


class Remasker(QObject):
    """Masks for the frames of one result, one at a time.

    The mask is computed in the engine. It is written slice by slice on the GUI thread, in stretches short enough for a
    person to go on painting: a stroke is on the slice before it is written, and stays, or comes after.

    Parameters
    ----------
    result : Result
        Where to write.
    """

    def __init__(self, result: Result) -> None:
        super().__init__()
        self._result = result
        self._latest: Wish | None = None
        self._task = Task(self, "Making the mask")
        self._task.returned.connect(self._computed)
        self._task.failed.connect(self._not_computed)
        self._writing = Stretches(self)

    @property
    def busy(self) -> bool:
        """Whether a mask is being made or written."""
        return self._latest is not None

    def request(self, wish: Wish) -> None:
        """Make a mask, and forget the one that was wished for before if it is not finished."""
        self.forget()
        self._latest = wish
        self._compute(wish)

    def forget(self, step: Step | None = None) -> None:
        """Drop what is being made; given a step, only if it belongs to that."""
        if step is not None and (self._latest is None or self._latest.step is not step):
            return
        self._latest = None
        self._task.forget()
        self._writing.stop()

    def _compute(self, wish: Wish) -> None:
        frame = wish.frame
        self._task.ask("mask", frame.probability, wish.settings, frame.classes, frame.likeliest)

    def _computed(self, made: tuple[Array, int]) -> None:
        mask, count = made
        wish = self._latest
        assert wish is not None
        self._writing.start(self._write(wish, mask), partial(self._written, wish, count), partial(self._failed, wish))

    def _not_computed(self, text: str) -> None:
        wish, self._latest = self._latest, None
        assert wish is not None
        wish.done(Failed(text))

    def _write(self, wish: Wish, mask: Array) -> Iterator[None]:
        places = [()] if mask.ndim == 2 else [(index,) for index in range(len(mask))]
        for where in sorted(places, key=lambda place: abs(place[0] - wish.first) if place else 0):
            self._result.put_labels(wish.frame, where, mask[where], wish.step)
            yield

    def _failed(self, wish: Wish, error: Exception) -> None:
        self._latest = None
        self._result.refresh()
        wish.done(Failed(f"{sentence(error, 'Writing the mask')} Only a part of it was written."))

    def _written(self, wish: Wish, count: int) -> None:
        self._latest = None
        self._result.settings = wish.settings
        if wish.step is not None:
            wish.step.after = self._result.making
        self._result.refresh()
        wish.done(count)
