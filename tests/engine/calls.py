"""Waiting for what engines tell."""

from __future__ import annotations

from queue import Empty, Queue
from typing import Any

from waiting import SOON

from napari_lungseg.engine.messages import Yielded
from napari_lungseg.engine.process import Call, Engine


class Listener:
    """Keeps what a call is told."""

    def __init__(self) -> None:
        self._told: Queue[Any] = Queue()

    def __call__(self, message: Any) -> None:
        self._told.put(message)

    def next(self) -> Any:
        """The next message, which must come soon."""
        try:
            return self._told.get(timeout=SOON / 1000)
        except Empty:
            raise AssertionError("Nothing came from the engine.") from None

    def end(self) -> tuple[Any, list[Any]]:
        """The last message, and the items of the stream before it."""
        items = []
        while isinstance(message := self.next(), Yielded):
            items.append(message.item)
        return message, items


def call(engine: Engine, job: str, *args: Any, kept: Any = None) -> tuple[Call, Listener]:
    """Call a job; what it tells is kept."""
    listener = Listener()
    return engine.call(job, *args, listener=listener, kept=kept), listener
