"""Engines: each runs jobs in a child process, which is started when it is needed."""

from __future__ import annotations

import atexit
import threading
from typing import Any
from weakref import WeakSet

from napari_lungseg.engine.spawned import Call, ChildProcess, Listener, Told
from napari_lungseg.errors import InputError
from napari_lungseg.translation import say
from napari_lungseg.volume import Array

__all__ = ["Call", "Engine", "Told", "shared_engine"]

#: Seconds without a job after which the child ends, which gives its memory back.
IDLE_S = 300.0
#: Seconds to wait at most for a killed child.
CLOSE_S = 2.0


class Engine:
    """Runs jobs in a child process, which is started by the first call or by :meth:`start`, and again after it ended.

    Parameters
    ----------
    idle_s : float
        Seconds without a job after which the child ends.
    """

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self.idle_s = idle_s
        self._devices: tuple[str, ...] = ()
        self._lock = threading.RLock()
        self._greeted = threading.Condition(self._lock)
        self._child: ChildProcess | None = None
        _engines.add(self)

    def start(self) -> None:
        """Start a child in the background unless there is one."""
        with self._lock:
            if self._child is None or self._child.retiring:
                self._child = ChildProcess(self._lock, self.idle_s, self._greet, self._forget)

    def devices(self) -> tuple[str, ...]:
        """Devices of the machine, as the first child told them; waits until there is one.

        Raises
        ------
        InputError
            When the engine does not start.
        """
        with self._greeted:
            if not self._devices:
                self.start()
                child = self._child
                self._greeted.wait_for(lambda: self._devices or self._child is not child)
            if not self._devices:
                raise InputError(say("The engine process does not start; the log has the details."))
            return self._devices

    def call(self, job: str, *args: Any, listener: Listener, kept: Array | None = None) -> Call:
        """Run a job.

        Parameters
        ----------
        job : str
            Its name in :mod:`napari_lungseg.engine.jobs`.
        *args
            Plain values, dataclasses of this package, and arrays. They are sent in the background; an array that may change until then
            is to be copied before.
        listener : callable
            Called from a thread of the engine with each message about the job.
        kept : array, optional
            For which :class:`~napari_lungseg.engine.messages.Kept` stands among the arguments; lazy ones stay lazy.
        """
        with self._lock:
            self.start()
            assert self._child is not None
            return self._child.call(job, args, listener, kept)

    @property
    def process(self) -> int | None:
        """Number of the child's process; None where there is none."""
        with self._lock:
            return None if self._child is None else self._child.process

    def close(self) -> None:
        """Kill the child and wait until it has ended; what is running is cancelled."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()
            if threading.current_thread() is not child.receiver:
                child.receiver.join(CLOSE_S)

    def _greet(self, devices: tuple[str, ...]) -> None:
        """Note what a child told of the machine."""
        with self._greeted:
            self._devices = devices
            self._greeted.notify_all()

    def _forget(self, child: ChildProcess) -> None:
        """Start another child for the next call."""
        with self._greeted:
            if self._child is child:
                self._child = None
            self._greeted.notify_all()


_engines: WeakSet[Engine] = WeakSet()
_shared: list[Engine] = []


def shared_engine() -> Engine:
    """The engine of this process for all but training."""
    if not _shared:
        _shared.append(Engine())
    return _shared[0]


@atexit.register
def _close_all() -> None:
    for engine in list(_engines):
        engine.close()
