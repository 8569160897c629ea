"""Work on the GUI thread in stretches too short to be felt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from qtpy.QtCore import QObject, QTimer

from napari_lungseg.translation import say
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.notices import show_error
from napari_lungseg.widgets.worker import sentence

#: Seconds that such work may take from the GUI thread at a time.
STRETCH = 0.008


class Stretches(QObject):
    """Does one thing bit by bit, so that a person can go on painting meanwhile.

    Parameters
    ----------
    parent : QObject
        With which it ends.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._work: Iterator[None] | None = None
        self._done: Callable[[], None] = _nothing
        self._failed: Callable[[Exception], None] = _tell
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._do_some)

    def start(self, work: Iterator[None], done: Callable[[], None], failed: Callable[[Exception], None] | None = None) -> None:
        """Begin; what was begun before is ended first.

        Parameters
        ----------
        work : iterator
            Does one bit whenever it is asked for its next.
        done : callable
            Called once all is done.
        failed : callable, optional
            Called with the error instead, where a bit fails; the rest is then left undone. By default the person is told.
        """
        self.finish()
        self._work, self._done, self._failed = work, done, failed or _tell
        self._timer.start()

    def finish(self) -> None:
        """Do the rest at once."""
        self._go_on(math.inf)

    def stop(self) -> bool:
        """Leave the rest undone; tells whether there was any."""
        there_was, self._work = self._work is not None, None
        self._timer.stop()
        return there_was

    def _do_some(self) -> None:
        self._go_on(time.perf_counter() + STRETCH)

    def _go_on(self, end: float) -> None:
        while self._work is not None and time.perf_counter() < end:
            try:
                next(self._work)
            except StopIteration:
                done, _ = self._over()
                done()
            except Exception as error:
                _, failed = self._over()
                failed(error)

    def _over(self) -> tuple[Callable[[], None], Callable[[Exception], None]]:
        """Whom to tell; not kept any longer than needed, nor what they hold."""
        self.stop()
        told = self._done, self._failed
        self._done, self._failed = _nothing, _tell
        return told


def _nothing() -> None:
    pass


def _tell(error: Exception) -> None:
    show_error(tr("{problem} Only a part of it was written.", problem=sentence(error, say("Writing into the layer"))))
