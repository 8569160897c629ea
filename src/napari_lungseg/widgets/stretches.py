"""Work on the GUI thread in stretches too short to be felt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from qtpy.QtCore import QObject, QTimer

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
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._do_some)

    def start(self, work: Iterator[None], done: Callable[[], None]) -> None:
        """Begin; ``work`` does one bit whenever it is asked for its next. What was begun before is ended first."""
        if self._work is not None:
            for _ in self._work:
                pass
            self._done()
        self._work, self._done = work, done
        self._timer.start()

    def stop(self) -> bool:
        """Leave the rest undone; tells whether there was any."""
        there_was, self._work = self._work is not None, None
        self._timer.stop()
        return there_was

    def _do_some(self) -> None:
        end = time.perf_counter() + STRETCH
        while self._work is not None and time.perf_counter() < end:
            try:
                next(self._work)
            except StopIteration:
                self.stop()
                # Not kept any longer than needed, nor what it holds.
                done, self._done = self._done, _nothing
                done()


def _nothing() -> None:
    pass
