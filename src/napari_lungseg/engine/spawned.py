"""The child process of an engine as its parent sees it: how it is started, what is sent to it, and how it ends."""

from __future__ import annotations

import itertools
import logging
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from napari_lungseg.engine.arrays import private_folder, remove_folders
from napari_lungseg.engine.messages import (
    PROTOCOL,
    Bye,
    Cancel,
    Cancelled,
    Failed,
    Hello,
    Kind,
    Pause,
    Put,
    Resume,
    Returned,
    Start,
    Stop,
    Wanted,
    Yielded,
)
from napari_lungseg.engine.start import end_of, start_child
from napari_lungseg.engine.wire import Wire
from napari_lungseg.translation import say
from napari_lungseg.volume import Array

logger = logging.getLogger(__name__)

#: Seconds that a cancelled job has to end before its child is killed.
CANCEL_S = 0.8
#: Characters of the child's output that are logged when it ends unexpectedly.
TAIL = 4000

#: What a call tells its listener, from a thread of the engine; all but Yielded are the last.
Told: TypeAlias = "Yielded | Returned | Failed | Cancelled"
Listener: TypeAlias = Callable[[Told], None]


class Call:
    """One job in a child process, from :meth:`Engine.call`. No method waits."""

    def __init__(self, child: ChildProcess, start: Start, listener: Listener, kept: Array | None) -> None:
        self.start, self.listener, self.kept = start, listener, kept
        self.cancelled = False
        #: Where it runs; None once it has ended.
        self.child: ChildProcess | None = child

    def cancel(self) -> None:
        """End the job; where it does not end by itself, its process is killed once nothing else is running there."""
        self.drop()
        if (child := self.child) is not None:
            timer = threading.Timer(CANCEL_S, child.end_cancelled, [self])
            timer.daemon = True
            timer.start()

    def drop(self) -> None:
        """Ask the job to end, however long it takes."""
        self.cancelled = True
        self._ask(Cancel)

    def pause(self) -> None:
        """Hold the job before its next step."""
        self._ask(Pause)

    def resume(self) -> None:
        """Let the job go on."""
        self._ask(Resume)

    def stop(self) -> None:
        """Let the job end early, with what it has."""
        self._ask(Stop)

    def _ask(self, what: type[Cancel | Pause | Resume | Stop]) -> None:
        if (child := self.child) is not None:
            child.tell(self, what(self.start.number))


class ChildProcess:
    """One child process, the thread that sends to it, and the one that receives.

    Parameters
    ----------
    lock : RLock
        Guards the calls of all children of an engine.
    idle_s : float
        Seconds without a job after which it ends.
    greeted : callable
        Called with the devices of the machine, once it is ready.
    ended : callable
        Called with this, once it takes no more calls.
    """

    def __init__(
        self, lock: threading.RLock, idle_s: float, greeted: Callable[[tuple[str, ...]], None], ended: Callable[[ChildProcess], None]
    ) -> None:
        self._lock, self._idle_s, self._greeted, self._told_end = lock, idle_s, greeted, ended
        self._numbers = itertools.count()
        self.calls: dict[int, Call] = {}
        #: Takes no more calls.
        self.retiring = False
        self._killed = self._ending = self._ended = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._waiting: list[Any] = []
        self._something = threading.Condition(lock)
        self.receiver = threading.Thread(target=self._run, name="engine", daemon=True)
        self.receiver.start()

    @property
    def process(self) -> int | None:
        """Its number; None before it is started."""
        return None if self._popen is None else self._popen.pid

    def call(self, job: str, args: tuple[Any, ...], listener: Listener, kept: Array | None) -> Call:
        """Run a job, as :meth:`Engine.call` says."""
        call = Call(self, Start(next(self._numbers), job, args), listener, kept)
        self.calls[call.start.number] = call
        self._post(call.start)
        return call

    def tell(self, call: Call, message: Any) -> None:
        """Send a message about a call that has not ended, in the background."""
        with self._lock:
            if call.child is self:
                self._post(message)

    def end_cancelled(self, call: Call) -> None:
        """Kill it where a call does not end; one with other jobs takes no more, and is killed after them."""
        with self._lock:
            if call.child is self:
                self.retiring = True
                self._kill_if_useless()

    def _post(self, message: Any) -> None:
        with self._something:
            self._waiting.append(message)
            self._something.notify()

    def _kill_if_useless(self) -> None:
        """Kill a child whose calls are all cancelled."""
        if self.retiring and all(call.cancelled for call in self.calls.values()):
            self._killed = True
            self._kill()

    def end(self) -> None:
        """Kill it; it holds nothing of value."""
        with self._lock:
            self.retiring = self._killed = True
            for call in self.calls.values():
                call.cancelled = True
        self._kill()

    def _kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()

    # ---- in the thread that receives

    def _run(self) -> None:
        log = private_folder() / f"engine-{id(self):x}.log"
        reason = ""
        try:
            with log.open("wb") as output:
                self._popen, self._wire = start_child(output)
            if self._killed:
                self._kill()
            self._greet()
            threading.Thread(target=self._send, name="engine-send", daemon=True).start()
            self._receive()
        except (EOFError, ConnectionError):
            pass  # the child has ended
        except Exception as error:
            logger.exception("The engine process could not be used")
            reason = say("The engine process could not be started ({error}); restart napari.", error=error)
        self._over(reason, log)

    def _greet(self) -> None:
        assert self._wire is not None
        hello = self._wire.receive()
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise RuntimeError("another version of napari-lungseg was found")
        self._greeted(hello.devices)

    def _receive(self) -> None:
        wire = self._wire
        assert wire is not None
        while True:
            if not wire.poll(self._idle_s):
                with self._lock:
                    if not self.calls and not self._waiting:
                        self.retiring = self._ending = True
                        self._told_end(self)
                        self._post(Bye())
                continue
            message = wire.receive()
            call = self.calls.get(message.number)
            if call is None:
                continue
            if isinstance(message, Wanted):
                threading.Thread(target=self._put, args=(call, message), name="engine-read", daemon=True).start()
            else:
                self._tell(call, message)

    def _put(self, call: Call, wanted: Wanted) -> None:
        """Read a slice, which may take long where the array is lazy."""
        try:
            assert call.kept is not None
            plane = np.asarray(call.kept[(slice(None),) * wanted.axis + (wanted.index,)])
        except Exception as error:
            logger.exception("An image could not be read")
            self._post(
                Put(
                    wanted.number,
                    None,
                    say(
                        "Slice {index} of the image cannot be read: {error} ({kind}).",
                        index=wanted.index,
                        error=error,
                        kind=type(error).__name__,
                    ),
                )
            )
        else:
            self._post(Put(wanted.number, plane))

    def _tell(self, call: Call, message: Told) -> None:
        if not isinstance(message, Yielded):
            with self._lock:
                self.calls.pop(call.start.number, None)
                call.child = None
                self._kill_if_useless()
        if isinstance(message, Failed) and message.details:
            logger.error("The job %s failed in the engine:\n%s", call.start.job, message.details)
        call.listener(message)

    def _over(self, reason: str, log: Path) -> None:
        """Tell the calls that are left."""
        status = None if self._popen is None else self._popen.wait()
        with self._something:
            self._told_end(self)
            left, self.calls = list(self.calls.values()), {}
            for call in left:
                call.child = None
            self._ended = True
            self._something.notify_all()
        if self._wire is not None:
            self._wire.close()
        if self._popen is not None:
            remove_folders(self._popen.pid)
        if not self._killed and not self._ending:
            reason = reason or say(
                "The engine process ended unexpectedly ({end}). Nothing of yours is lost; press again.", end=end_of(status)
            )
            logger.error("%s\n%s", reason, log.read_text(errors="replace")[-TAIL:])
        log.unlink(missing_ok=True)
        for call in left:
            number = call.start.number
            call.listener(Cancelled(number) if call.cancelled else Failed(number, reason, "input"))

    # ---- in the thread that sends

    def _send(self) -> None:
        while (message := self._next()) is not None:
            assert self._wire is not None
            try:
                self._wire.send(message)
            except OSError:
                return  # the child has ended, which the other thread sees too
            except Exception as error:
                # An argument that cannot be sent, or no room for it.
                logger.exception("A message could not be sent to the engine")
                call = self.calls.get(message.number)
                if call is not None:
                    kind: Kind = "memory" if isinstance(error, MemoryError) else "other"
                    self._tell(call, Failed(message.number, f"{error} ({type(error).__name__})", kind))
                    self._post(Cancel(message.number))

    def _next(self) -> Any:
        """Wait for something to send; None once the child has ended."""
        with self._something:
            self._something.wait_for(lambda: self._waiting or self._ended)
            return None if self._ended else self._waiting.pop(0)
