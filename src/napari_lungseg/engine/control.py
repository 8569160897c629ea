"""What a running job asks: whether it is paused, stopped or cancelled; and how it reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np

from napari_lungseg.engine.messages import Kept, Put, Wanted, Yielded
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array, Volume


class CancelledError(Exception):
    """The result of the job is not wanted any more."""


class Control:
    """Control of one job; any thread may set it.

    Parameters
    ----------
    number : int
        Of the call.
    send : callable
        Sends a message.
    """

    def __init__(self, number: int, send: Callable[[Any], None]) -> None:
        self._number, self._send = number, send
        self._answers: SimpleQueue[Put | None] = SimpleQueue()
        self._go_on = threading.Event()
        self._go_on.set()
        self._stopped, self._cancelled = threading.Event(), threading.Event()

    def report(self, item: Any) -> None:
        """Send one item from within a function that calls back; waits while paused.

        Raises
        ------
        CancelledError
            When the job was cancelled.
        """
        self.check()
        self._send(Yielded(self._number, item))

    def open(self, volume: Volume) -> Volume:
        """A volume whose array stayed with the caller, as one that is read slice by slice."""
        kept: Any = volume.array
        return replace(volume, array=_Fetched(kept, self)) if isinstance(kept, Kept) else volume  # type: ignore[arg-type]

    def fetch(self, axis: int, index: int) -> Array:
        """Ask the caller for a slice.

        Raises
        ------
        CancelledError
            When the job was cancelled.
        InputError
            When the slice cannot be read.
        """
        self.check()
        self._send(Wanted(self._number, axis, index))
        answer = self._answers.get()
        self.check()
        assert answer is not None
        if answer.array is None:
            raise InputError(answer.problem)
        return answer.array

    def put(self, answer: Put) -> None:
        """Answer to a slice that was asked for."""
        self._answers.put(answer)

    def check(self) -> None:
        """Wait while paused (CancelledError when the job was cancelled)."""
        self._go_on.wait()
        if self._cancelled.is_set():
            raise CancelledError

    def paused(self) -> bool:
        """Whether the job is held."""
        return not self._go_on.is_set()

    def stopped(self) -> bool:
        """Whether the job is to end early with what it has."""
        return self._stopped.is_set()

    def pause(self) -> None:
        """Hold the job at its next check."""
        if not self._stopped.is_set() and not self._cancelled.is_set():
            self._go_on.clear()

    def resume(self) -> None:
        """Let the job go on."""
        self._go_on.set()

    def stop(self) -> None:
        """Ask the job to end early with what it has."""
        self._stopped.set()
        self._go_on.set()

    def cancel(self) -> None:
        """Ask the job to end."""
        self._cancelled.set()
        self._go_on.set()
        self._answers.put(None)


class _Fetched:
    """An array that stayed with the caller; gives whole slices along one axis."""

    def __init__(self, kept: Kept, control: Control) -> None:
        self.shape, self.ndim, self.dtype = kept.shape, kept.ndim, np.dtype(kept.dtype)
        self._control = control

    def __getitem__(self, key: int | tuple[Any, ...]) -> Array:
        *before, index = key if isinstance(key, tuple) else (key,)
        if any(part != slice(None) for part in before):
            raise IndexError(f"{key} is not a slice along one axis")
        return self._control.fetch(len(before), range(self.shape[len(before)])[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.stack([self[index] for index in range(self.shape[0])]).astype(dtype or self.dtype)
