"""Work off the GUI thread: short work in a thread of the window, heavy work in an engine. What comes of it arrives on the GUI thread."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_lungseg.engine.messages import Cancelled, Failed, Returned, Yielded
from napari_lungseg.engine.process import Call, Engine, Told, shared_engine
from napari_lungseg.volume import Array
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.worker import sentence

#: Seconds that delivering may take from the GUI thread at a time, and the shortest time between two deliveries.
STRETCH_S = 0.008
DISPLAY_S = 0.015


@dataclass(frozen=True, eq=False)
class Request:
    """Returned by a task's function: the task goes on with this job in its engine.

    Attributes
    ----------
    job : str
        Name of the job.
    args : tuple
        As for :meth:`~napari_lungseg.engine.process.Engine.call`.
    kept : array or None
        Likewise.
    """

    job: str
    args: tuple[Any, ...]
    kept: Array | None = None


class Task(QObject):
    """Something that is done in the background, one run at a time; the latest run wins.

    A run that is overtaken or cancelled delivers nothing more. The next one begins once it has really ended, so that there is one thread
    that waits for a slow disk, and one job in the engine.

    Parameters
    ----------
    parent : QObject or None
        With which it ends.
    what : str
        What is done, as the subject of a sentence that says that it failed: "The segmentation".
    engine : Engine, optional
        For its jobs; by default the one that all share.
    """

    #: An item of the stream of a generator or a job.
    yielded = Signal(object)
    #: The end: what the function or the job returned.
    returned = Signal(object)
    #: The end: why there is no result, one sentence for a person.
    failed = Signal(str)
    #: The run has let go of all it used, also after it was cancelled.
    released = Signal()

    def __init__(self, parent: QObject | None, what: str, engine: Engine | None = None) -> None:
        super().__init__(parent)
        self.what = what
        self._engine = engine
        self._run: _Run | None = None
        self._next: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        _post()  # is made on the GUI thread

    @property
    def busy(self) -> bool:
        """Whether a result is still to come."""
        return self._next is not None or (self._run is not None and self._run.wanted)

    def run(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in a thread; what was begun before is not wanted any more.

        Parameters
        ----------
        function : callable
            Gives a value, or a :class:`Request` to go on with; a generator's items are delivered too.
        *args
            For the function.
        """
        if self._run is None:
            self._begin(function, args)
        else:
            self._run.end(kill=False)
            self._next = (function, args)

    def ask(self, job: str, *args: Any) -> None:
        """Run a job of the engine; what was begun before is not wanted any more."""
        self.run(Request, job, args)

    def cancel(self) -> None:
        """Deliver nothing more; a job that does not end by itself is killed."""
        self._next = None
        if self._run is not None:
            self._run.end(kill=True)

    def forget(self) -> None:
        """Deliver nothing more, but let a job take its time to end."""
        self._next = None
        if self._run is not None:
            self._run.end(kill=False)

    def pause(self, paused: bool) -> None:
        """Hold a job, or let it go on."""
        if self._run is not None:
            self._run.pause(paused)

    def stop(self) -> None:
        """Let a job end early, with what it has."""
        if self._run is not None:
            self._run.stop()

    def _begin(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._run = _Run(self, self._engine or shared_engine())
        threading.Thread(target=self._run.work, args=(function, args), name=self.what, daemon=True).start()

    def _arrived(self, run: _Run, message: Any) -> None:
        """Deliver a message on the GUI thread."""
        if isinstance(message, Yielded):
            if run.wanted:
                self.yielded.emit(message.item)
            return
        wanted, run.wanted, self._run = run.wanted, False, None
        if self._next is not None:
            (function, args), self._next = self._next, None
            self._begin(function, args)
        elif wanted and isinstance(message, Returned):
            self.returned.emit(message.value)
        elif wanted and isinstance(message, Failed):
            self.failed.emit(self._sentence(message))
        if isalive(self):  # those who heard of the end may have no more use for it
            self.released.emit()

    def _sentence(self, failed: Failed) -> str:
        if failed.kind == "input":
            return tr(failed.text)
        if failed.kind == "memory":
            return sentence(MemoryError(failed.text), self.what)
        return tr("{what} failed: {reason}; the log has the details.", what=tr(self.what), reason=failed.text)


def run_once(
    parent: QObject, what: str, function: Callable[..., Any], *args: Any, done: Callable[[Any], None], failed: Callable[[str], None]
) -> None:
    """Run something beside whatever else runs.

    Parameters
    ----------
    parent, what
        As for :class:`Task`.
    function, *args
        As for :meth:`Task.run`.
    done, failed : callable
        Called at the end with what came of it, or with why nothing did.
    """
    task = Task(parent, what)
    task.returned.connect(done)
    task.failed.connect(failed)
    task.released.connect(task.deleteLater)
    task.run(function, *args)


class _Run:
    """One run of a task; the thread and the engine tell it, and it posts what is to be delivered."""

    def __init__(self, task: Task, engine: Engine) -> None:
        self.task = task
        self.wanted = True
        self._engine = engine
        self._what = task.what
        self._lock = threading.Lock()
        self._call: Call | None = None
        self._paused = self._stopped = self._ended = False
        _running.add(self)

    def work(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Do the part that is done in a thread, and begin the rest."""
        try:
            value = function(*args)
            if inspect.isgenerator(value):
                value = self._stream(value)
        except Exception as error:
            self._tell(Failed(0, sentence(error, self._what), "input"))
            return
        if not isinstance(value, Request):
            self._tell(Returned(0, value))
            return
        with self._lock:
            if self._ended:
                self._tell(Cancelled(0))
                return
            self._call = call = self._engine.call(value.job, *value.args, listener=self._tell, kept=value.kept)
            if self._stopped:
                call.stop()
            elif self._paused:
                call.pause()

    def end(self, *, kill: bool) -> None:
        """Deliver nothing more, and end soon."""
        with self._lock:
            self.wanted, self._ended = False, True
            if self._call is not None:
                (self._call.cancel if kill else self._call.drop)()

    def pause(self, paused: bool) -> None:
        with self._lock:
            self._paused = paused
            if self._call is not None:
                (self._call.pause if paused else self._call.resume)()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._call is not None:
                self._call.stop()

    def _stream(self, items: Any) -> Any:
        """Post what a generator yields; gives what it returns."""
        with contextlib.closing(items):
            while not self._ended:
                try:
                    self._tell(Yielded(0, next(items)))
                except StopIteration as end:
                    return end.value
        return None

    def _tell(self, message: Told) -> None:
        if not isinstance(message, Yielded):
            _running.discard(self)
        _post().put(self, message)


class _Post(QObject):
    """Brings messages to the GUI thread: one event for many, at most as often as a display shows something new."""

    _called = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.messages: deque[tuple[_Run, Told]] = deque()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._deliver)
        self._called.connect(self._plan)
        self._planned = False
        self._last = 0.0

    def put(self, run: _Run, message: Told) -> None:
        """Take a message; from any thread."""
        self.messages.append((run, message))
        if not self._planned:
            self._planned = True
            with contextlib.suppress(RuntimeError):  # Qt has ended before the thread
                self._called.emit()

    def _plan(self) -> None:
        wait_s = self._last + DISPLAY_S - time.perf_counter()
        self._timer.start(max(0, int(1000 * wait_s)))

    def _deliver(self) -> None:
        self._planned = False
        end = time.perf_counter() + STRETCH_S
        while self.messages:
            if time.perf_counter() > end:
                self._planned = True
                self._timer.start(0)
                break
            run, message = self.messages.popleft()
            if isalive(run.task):
                run.task._arrived(run, message)
            else:  # the module was closed
                run.end(kill=True)
        self._last = time.perf_counter()


#: Runs whose thread or job has not ended.
_running: set[_Run] = set()
_posts: list[_Post] = []


def _post() -> _Post:
    if not _posts:
        _posts.append(_Post())
    return _posts[0]


def running() -> bool:
    """Whether any task's thread or job has not ended."""
    return bool(_running)


def idle() -> bool:
    """Whether nothing runs, and all that came of it was delivered."""
    return not _running and not _post().messages
