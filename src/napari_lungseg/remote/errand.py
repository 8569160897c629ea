"""Work that a worker of a Dask cluster does, as the asking side sees it.

What is sent goes from here to the worker and back, not through the scheduler. The worker works ahead, so that working and sending
overlap. Nothing here waits where it cannot be cancelled.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_lungseg import __version__
from napari_lungseg.errors import InputError
from napari_lungseg.predicted import Notice
from napari_lungseg.remote.connection import check_version, connect, make_actor
from napari_lungseg.remote.model_files import ModelFiles
from napari_lungseg.translation import say

if TYPE_CHECKING:
    from distributed import Client

#: Seconds without a worker after which a person is told that all are busy.
BUSY_S = 3.0
#: Seconds without an answer after which a worker is given up, and without a question after which a worker gives up.
SILENCE_S = 60.0
#: Seconds between two looks at whether the person has cancelled.
LOOK_S = 0.05
#: Bytes that are sent at once; in a minute also by a slow line.
PART = 4 << 20


@dataclass(frozen=True)
class End:
    """Nothing more comes; and why, where that is not the end of the work."""

    error: BaseException | None = None


class LostError(InputError):
    """The cluster does not answer any more."""


class _SilentError(OSError):
    """Nothing was heard for too long."""


class Errand(ABC):
    """One errand; it has a thread of its own, since Dask's calls cannot be interrupted.

    Parameters
    ----------
    scheduler : str
        Address of the cluster's scheduler, ``tcp://host:8786`` or ``tls://host:8786``.
    """

    #: Class of the actor on the worker.
    actor: type

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler
        self._client: Any = None
        self._found: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.closed = threading.Event()

    @abstractmethod
    def work(self, actor: Any) -> None:
        """Send what is needed to the actor, and :meth:`tell` what comes back; the last is an :class:`End`."""

    @abstractmethod
    def lost(self, reason: str) -> str:
        """What to say where the cluster is lost."""

    def carried_out(self, check: Callable[[], None]) -> Generator[Any]:
        """Begin, and yield what is told.

        Parameters
        ----------
        check : callable
            Called many times a second; what it raises ends the work, here and on the worker.

        Raises
        ------
        InputError
            When the cluster cannot be used; a LostError when it is lost.
        """
        threading.Thread(target=self._run, name="remote", daemon=True).start()
        try:
            while True:
                check()
                try:
                    found = self._found.get(timeout=LOOK_S)
                except queue.Empty:
                    continue
                if isinstance(found, End):
                    if found.error is not None:
                        raise found.error
                    return
                yield found
        finally:
            self.closed.set()

    # ---- in the thread

    def tell(self, item: Any) -> None:
        """Yield an item where the errand is looked on."""
        self._found.put(item)

    def send_model(self, actor: Any, model: ModelFiles) -> None:
        """Send a model to a worker that does not have it."""
        if not self.wait(actor.has(model.named())):
            self.wait(actor.take_model(model), silence_s=10 * SILENCE_S)

    def wait(self, future: Any, silence_s: float | None = None) -> Any:
        """The result of a future of Dask; None where it is not wanted any more."""
        from distributed import TimeoutError as DaskTimeoutError

        began = time.monotonic()
        while not self.closed.is_set():
            try:
                return future.result(timeout=LOOK_S)
            except (DaskTimeoutError, TimeoutError):
                # The call of an actor whose scheduler has gone would wait for ever.
                if self._client.status != "running":
                    raise OSError("the scheduler has gone") from None
                most = SILENCE_S if silence_s is None else silence_s
                if time.monotonic() > began + most:
                    raise _SilentError(f"no answer for {most:.0f} s") from None
        return None

    def _run(self) -> None:
        try:
            self._client = connect(self.scheduler)
            # Actors find the client by this.
            with self._client.as_current():
                self._carry_out(self._client)
        except (InputError, MemoryError) as error:
            self.tell(End(error))
        except Exception as error:
            self.tell(End(LostError(self.lost(str(error) or type(error).__name__))))
        else:
            self.tell(End())

    def _carry_out(self, client: Client) -> None:
        actor: Any = None
        try:
            # Done at once by a worker that is free, where to make the actor loads torch.
            asked = client.submit(check_version, __version__, pure=False)
            try:
                self.wait(asked, silence_s=BUSY_S)
            except _SilentError:
                self.tell(Notice(say("All workers of the cluster are busy; this waits for one.")))
                self.wait(asked, silence_s=float("inf"))
            made = client.submit(make_actor, self.actor.__module__, self.actor.__name__, __version__, actor=True, pure=False)
            actor = self.wait(made, silence_s=float("inf"))
            if actor is not None:
                self.work(actor)
        finally:
            # Not waited for where the worker hangs: it hears of it from the scheduler too.
            if actor is not None:
                with suppress(Exception):
                    actor.close().result(timeout=1.0)
            with suppress(Exception):
                client.close(timeout=2.0)
