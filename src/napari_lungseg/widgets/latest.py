"""Questions to a disk that may be slow: asked off the GUI thread, one at a time, and only the latest is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject

from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.worker import attempt


class LatestWins(QObject):
    """Runs a function in a worker, and gives what it returned to whoever asked last.

    While one call is running, the next waits; of several that wait only the last is made. So however slow the disk, there is one
    thread that waits for it.

    Parameters
    ----------
    parent : QObject
        With which it ends.
    what : str
        What is done, for a sentence that says that it failed.
    arrived : callable
        Called on the GUI thread with what the function returned, or Failed.
    """

    def __init__(self, parent: QObject, what: str, arrived: Callable[[Any], None]) -> None:
        super().__init__(parent)
        self._what, self._arrived = what, arrived
        self._next: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._running = self._wanted = False

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._wanted

    def ask(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function; what was asked before is not answered any more."""
        self._next, self._wanted = (function, args), True
        if not self._running:
            self._run()

    def forget(self) -> None:
        """Give no answer to what was asked before."""
        self._next, self._wanted = None, False

    def _run(self) -> None:
        assert self._next is not None
        (function, args), self._next = self._next, None
        self._running = True
        worker = create_worker(attempt, function, *args, what=self._what)
        worker.returned.connect(self._returned)
        worker.start()

    def _returned(self, value: Any) -> None:
        self._running = False
        if self._next is not None:
            self._run()
        elif self._wanted:
            self._wanted = False
            self._arrived(value)
