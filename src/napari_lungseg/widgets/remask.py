"""Make the mask of a stored probability anew, in the background; the latest wish wins."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer

from napari_lungseg.mask import MaskSettings
from napari_lungseg.volume import Array
from napari_lungseg.widgets.worker import Failed, masking

if TYPE_CHECKING:
    from napari_lungseg.widgets.results import Frame, Result

#: Seconds that writing a new mask may take from the GUI thread at a stretch.
STRETCH = 0.008


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
    done : callable
        Called with the number of lung voxels once the mask is written, or with the reason why there is none; not
        called if a later wish overtakes this one.
    """

    frame: Frame
    settings: MaskSettings
    first: int
    done: Callable[[int | Failed], None]


class Remasker(QObject):
    """Masks for the frames of one result, one at a time.

    The mask is computed in a worker. It is written slice by slice on the GUI thread, in stretches short enough for a
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
        self._computing = False
        self._mask: Array = np.zeros(0, np.uint8)
        self._count = 0
        self._slices: deque[tuple[int, ...]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._write_some)

    @property
    def busy(self) -> bool:
        """Whether a mask is being made or written."""
        return self._latest is not None

    def request(self, wish: Wish) -> None:
        """Make a mask, and forget the one that was wished for before if it is not finished."""
        self.forget()
        self._latest = wish
        if not self._computing:
            self._compute(wish)

    def forget(self) -> None:
        """Drop whatever is being made."""
        self._latest = None
        self._timer.stop()
        self._slices.clear()

    def _compute(self, wish: Wish) -> None:
        self._computing = True
        worker = create_worker(_make, wish, _start_thread=False)
        worker.returned.connect(self._computed)
        worker.start()

    def _computed(self, made: tuple[Wish, Array | Failed, int]) -> None:
        self._computing = False
        wish, mask, count = made
        if self._latest is None:
            return
        if wish is not self._latest:
            self._compute(self._latest)
        elif isinstance(mask, Failed):
            self._latest = None
            wish.done(mask)
        else:
            self._mask, self._count = mask, count
            places = [()] if mask.ndim == 2 else [(index,) for index in range(len(mask))]
            self._slices.extend(sorted(places, key=lambda place: abs(place[0] - wish.first) if place else 0))
            self._timer.start()

    def _write_some(self) -> None:
        assert self._latest is not None
        wish = self._latest
        end = time.perf_counter() + STRETCH
        while self._slices and time.perf_counter() < end:
            where = self._slices.popleft()
            self._result.put_labels(wish.frame, where, self._mask[where])
        if not self._slices:
            self.forget()
            self._mask = np.zeros(0, np.uint8)
            self._result.settle()
            wish.done(self._count)


def _make(wish: Wish) -> tuple[Wish, Array | Failed, int]:
    mask = masking(wish.frame.probability, wish.settings)
    return wish, mask, 0 if isinstance(mask, Failed) else int(np.count_nonzero(mask))
