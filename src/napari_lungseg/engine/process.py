"""Engines as their parent sees them: a child process that is started when needed, and calls of its jobs."""

from __future__ import annotations

import atexit
import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import spawn
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakSet

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
from napari_lungseg.engine.wire import Wire
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array

logger = logging.getLogger(__name__)

#: Seconds without a job after which the child ends, which gives its memory back.
IDLE_S = 300.0
#: Seconds that a cancelled job has to end before its child is killed.
CANCEL_S = 0.8
#: Seconds to wait at most for a killed child.
CLOSE_S = 2.0
#: Characters of the child's output that are logged when it ends unexpectedly.
TAIL = 4000

#: What a call tells its listener, from a thread of the engine; all but Yielded are the last.
Told: TypeAlias = "Yielded | Returned | Failed | Cancelled"
Listener: TypeAlias = Callable[[Told], None]


class Call:
    """One job in an engine, from :meth:`Engine.call`. No method waits."""

    def __init__(self, engine: Engine, start: Start, listener: Listener, kept: Array | None) -> None:
        self.start, self.listener, self.kept = start, listener, kept
        self.cancelled = False
        self.child: _Child | None = None
        self._engine = engine

    def cancel(self) -> None:
        """End the job; where it does not end by itself, its process is killed once nothing else is running there."""
        self.drop()
        timer = threading.Timer(CANCEL_S, self._engine.end_cancelled, [self])
        timer.daemon = True
        timer.start()

    def drop(self) -> None:
        """Ask the job to end, however long it takes."""
        self.cancelled = True
        self._engine.post(self, Cancel(self.start.number))

    def pause(self) -> None:
        """Hold the job before its next step."""
        self._engine.post(self, Pause(self.start.number))

    def resume(self) -> None:
        """Let the job go on."""
        self._engine.post(self, Resume(self.start.number))

    def stop(self) -> None:
        """Let the job end early, with what it has."""
        self._engine.post(self, Stop(self.start.number))


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
        self._child: _Child | None = None
        self._numbers = itertools.count()
        _engines.add(self)

    def start(self) -> None:
        """Start a child in the background unless there is one."""
        with self._lock:
            if self._child is None or self._child.retiring:
                self._child = _Child(self)

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
                raise InputError("The engine process does not start; the log has the details.")
            return self._devices

    def greet(self, devices: tuple[str, ...]) -> None:
        """Note what a child told of the machine."""
        with self._greeted:
            self._devices = devices
            self._greeted.notify_all()

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
        call = Call(self, Start(next(self._numbers), job, args), listener, kept)
        with self._lock:
            self.start()
            assert self._child is not None
            self._child.take(call)
        return call

    @property
    def process(self) -> int | None:
        """Number of the child's process; None where there is none."""
        with self._lock:
            return None if self._child is None else self._child.process

    def post(self, call: Call, message: Any) -> None:
        """Send a message about a call, in the background."""
        with self._lock:
            if call.child is not None:
                call.child.post(message)

    def end_cancelled(self, call: Call) -> None:
        """Kill the child of a call that does not end; one with other jobs takes no more, and is killed after them."""
        with self._lock:
            child = call.child
            if child is None:
                return
            child.retiring = True
            child.kill_if_useless()

    def close(self) -> None:
        """Kill the child and wait until it has ended; what is running is cancelled."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()
            if threading.current_thread() is not child.receiver:
                child.receiver.join(CLOSE_S)

    def forget(self, child: _Child) -> None:
        """Start another child for the next call."""
        with self._lock:
            if self._child is child:
                self._child = None
            self._greeted.notify_all()

    @property
    def lock(self) -> threading.RLock:
        """Guards the calls of all children."""
        return self._lock


class _Child:
    """One child process, the thread that sends to it, and the one that receives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: dict[int, Call] = {}
        #: Takes no more calls.
        self.retiring = False
        self._killed = self._ending = self._ended = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._waiting: list[Any] = []
        self._something = threading.Condition(engine.lock)
        self.receiver = threading.Thread(target=self._run, name="engine", daemon=True)
        self.receiver.start()

    @property
    def process(self) -> int | None:
        return None if self._popen is None else self._popen.pid

    def take(self, call: Call) -> None:
        call.child = self
        self.calls[call.start.number] = call
        self.post(call.start)

    def post(self, message: Any) -> None:
        with self._something:
            self._waiting.append(message)
            self._something.notify()

    def kill_if_useless(self) -> None:
        """Kill a child whose calls are all cancelled."""
        if self.retiring and all(call.cancelled for call in self.calls.values()):
            self._killed = True
            self._kill()

    def end(self) -> None:
        """Kill it; it holds nothing of value."""
        with self._engine.lock:
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
                self._popen, self._wire = _spawn(output)
            if self._killed:
                self._kill()
            self._greet()
            threading.Thread(target=self._send, name="engine-send", daemon=True).start()
            self._receive()
        except (EOFError, ConnectionError):
            pass  # the child has ended
        except Exception as error:
            logger.exception("The engine process could not be used")
            reason = f"The engine process could not be started ({error}); restart napari."
        self._over(reason, log)

    def _greet(self) -> None:
        assert self._wire is not None
        hello = self._wire.receive()
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise RuntimeError("another version of napari-lungseg was found")
        self._engine.greet(hello.devices)

    def _receive(self) -> None:
        wire = self._wire
        assert wire is not None
        while True:
            if not wire.poll(self._engine.idle_s):
                with self._engine.lock:
                    if not self.calls and not self._waiting:
                        self.retiring = self._ending = True
                        self._engine.forget(self)
                        self.post(Bye())
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
            self.post(Put(wanted.number, None, f"Slice {wanted.index} of the image cannot be read: {error} ({type(error).__name__})."))
        else:
            self.post(Put(wanted.number, plane))

    def _tell(self, call: Call, message: Told) -> None:
        if not isinstance(message, Yielded):
            with self._engine.lock:
                self.calls.pop(call.start.number, None)
                call.child = None
                self.kill_if_useless()
        if isinstance(message, Failed) and message.details:
            logger.error("The job %s failed in the engine:\n%s", call.start.job, message.details)
        call.listener(message)

    def _over(self, reason: str, log: Path) -> None:
        """Tell the calls that are left."""
        status = None if self._popen is None else self._popen.wait()
        with self._something:
            self._engine.forget(self)
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
            reason = reason or f"The engine process ended unexpectedly ({_why(status)}). Nothing of yours is lost; press again."
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
                    self.post(Cancel(message.number))

    def _next(self) -> Any:
        """Wait for something to send; None once the child has ended."""
        with self._something:
            self._something.wait_for(lambda: self._waiting or self._ended)
            return None if self._ended else self._waiting.pop(0)


def _spawn(output: Any) -> tuple[subprocess.Popen[bytes], Wire]:
    """Start the child; not by multiprocessing, which would run a user's script again."""
    ours, theirs = multiprocessing.Pipe()
    # The child finds the package wherever this process has it from.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    executable = spawn.get_executable()
    options: dict[str, Any] = {}
    if sys.platform == "win32":
        os.set_handle_inheritable(theirs.fileno(), True)
        startup = subprocess.STARTUPINFO()
        startup.lpAttributeList = {"handle_list": [theirs.fileno()]}
        options = {"creationflags": subprocess.CREATE_NO_WINDOW, "startupinfo": startup}
    else:
        options = {"pass_fds": [theirs.fileno()]}
    command = [
        os.fsdecode(executable),
        "-P",
        "-X",
        "faulthandler",
        "-m",
        "napari_lungseg.engine",
        *map(str, (theirs.fileno(), os.getpid())),
    ]
    try:
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, **options)
    finally:
        theirs.close()
    return popen, Wire(ours)


def _why(status: int | None) -> str:
    """Say how the child ended."""
    if status is None or status >= 0:
        return f"exit status {status}"
    if status == -signal.SIGKILL:
        return "killed by signal 9, perhaps for lack of memory"
    return f"killed by signal {-status}"


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
