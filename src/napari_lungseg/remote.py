"""Predict on a worker of a Dask cluster (extra ``cluster``) for somebody who looks on; and what all do who reach a cluster.

The scan and what is found of it go from here to the worker and back, not through the scheduler. The worker computes ahead, so that
computing and sending overlap. Nothing here waits where it cannot be cancelled.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_lungseg import __version__
from napari_lungseg.errors import InputError
from napari_lungseg.files import whole_folder
from napari_lungseg.library import find_model
from napari_lungseg.model import load_model
from napari_lungseg.predict import PredictSettings, predict
from napari_lungseg.predicted import Notice, PredictedSlice, Working
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume

if TYPE_CHECKING:
    from distributed import Client

Item: TypeAlias = "PredictedSlice | Notice | Working"

#: Seconds until a scheduler must have answered.
ANSWER_S = 15.0
#: Seconds without a worker after which a person is told that all are busy.
BUSY_S = 3.0
#: Seconds without an answer after which a worker is given up.
SILENCE_S = 60.0
#: Seconds between two looks at whether the person has cancelled.
LOOK_S = 0.05
#: Seconds after which a worker answers also where it has nothing new.
PATIENCE_S = 1.0
#: Slices that a worker computes ahead.
AHEAD = 16
#: Bytes of a scan that are sent at once.
PART = 16 << 20


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """A model as it travels.

    Attributes
    ----------
    name : str
        Of its folder.
    weights_sha256 : str
        Of the weights.
    content : mapping of str to bytes
        Its files.
    """

    name: str
    weights_sha256: str
    content: Mapping[str, bytes]

    @classmethod
    def read(cls, model: str) -> ModelFiles:
        """Read a model of this computer (InputError where there is none)."""
        folder = find_model(model)
        sha256 = load_model(folder).card.weights_sha256
        return cls(folder.name, sha256, {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()})

    def put(self, place: Path) -> Path:
        """Write it into a folder of its own in ``place``, unless it is there; gives that folder."""
        folder = place / self.weights_sha256 / self.name
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with whole_folder(folder) as temporary:
                for name, content in self.content.items():
                    (temporary / name).write_bytes(content)
        return folder


def is_address(device: str) -> bool:
    """Whether a device is the address of a scheduler rather than a device of this computer."""
    return "://" in device


def connect(scheduler: str) -> Client:
    """Connect to a scheduler that has workers; calls of actors go to their workers directly (InputError where it cannot be reached)."""
    if find_spec("distributed") is None:
        raise InputError(
            say(
                "A cluster is reached by Dask's distributed, which is not installed; install it with: pip install 'napari-lungseg[cluster]'"
            )
        )
    from distributed import Client

    try:
        client = Client(scheduler, timeout=ANSWER_S, set_as_default=False, direct_to_workers=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            say("There is no Dask scheduler at {scheduler} ({error}); check the address.", scheduler=scheduler, error=error)
        ) from error
    try:
        client.wait_for_workers(1, timeout=ANSWER_S)
    except TimeoutError as error:
        client.close()
        raise InputError(
            say("The scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}", scheduler=scheduler)
        ) from error
    return client


def check_version(version: str) -> None:
    """Check, in a worker, that those who ask have the same version (InputError where not)."""
    if version != __version__:
        raise InputError(
            say(
                "A worker has version {theirs} of napari-lungseg instead of {ours}; install the same everywhere.",
                theirs=__version__,
                ours=version,
            )
        )


def predict_remotely(
    scheduler: str, volume: Volume, model: ModelFiles, settings: PredictSettings, check: Callable[[], None]
) -> Generator[Item | None]:
    """Predict a volume on a worker of a cluster.

    Parameters
    ----------
    scheduler : str
        Its address, ``tcp://host:8786`` or ``tls://host:8786``.
    volume : Volume
        The image, in memory.
    model, settings
        As for :func:`~napari_lungseg.predict.predict`; the worker takes its best device.
    check : callable
        Called many times a second; what it raises ends the work, here and on the worker.

    Returns
    -------
    generator
        Yields None once the worker has all that it needs, then as :func:`~napari_lungseg.predict.predict`.

    Raises
    ------
    InputError
        When the cluster cannot be used, or is lost.
    """
    work = _Work(scheduler, volume, model, settings)
    threading.Thread(target=work.run, name="remote", daemon=True).start()
    try:
        while True:
            check()
            try:
                found = work.found.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if isinstance(found, _End):
                if found.error is not None:
                    raise found.error
                return
            yield found
    finally:
        work.closed.set()


@dataclass(frozen=True)
class _End:
    """Nothing more comes; and why, where that is not the end of the work."""

    error: BaseException | None = None


class _SilentError(OSError):
    """Nothing was heard for too long."""


class _Work:
    """One prediction as the asking side sees it; it has a thread of its own, since Dask's calls cannot be interrupted."""

    def __init__(self, scheduler: str, volume: Volume, model: ModelFiles, settings: PredictSettings) -> None:
        self._scheduler, self._volume, self._model, self._settings = scheduler, volume, model, settings
        self._client: Any = None
        self.found: queue.SimpleQueue[Item | _End | None] = queue.SimpleQueue()
        self.closed = threading.Event()

    def run(self) -> None:
        try:
            self._client = connect(self._scheduler)
            # Actors find the client by this.
            with self._client.as_current():
                self._work(self._client)
        except (InputError, MemoryError) as error:
            self.found.put(_End(error))
        except Exception as error:
            self.found.put(_End(InputError(self._lost(error))))
        else:
            self.found.put(_End())

    def _work(self, client: Client) -> None:
        actor: Any = None
        try:
            made = client.submit(_Prediction, __version__, actor=True, pure=False)
            with suppress(_SilentError):
                actor = self._wait(made, silence_s=BUSY_S)
            if actor is None and not self.closed.is_set():
                self.found.put(Notice(say("All workers of the cluster are busy; this waits for one.")))
                actor = self._wait(made, silence_s=float("inf"))
            if actor is not None and self._begin(actor):
                self.found.put(None)
                while not self.closed.is_set():
                    items = self._wait(actor.next())
                    for item in items or ():
                        self.found.put(item)
                        if isinstance(item, _End):
                            return
        finally:
            # Not waited for where the worker hangs: it hears of it from the scheduler too.
            if actor is not None:
                with suppress(Exception):
                    actor.close().result(timeout=1.0)
            with suppress(Exception):
                client.close(timeout=2.0)

    def _begin(self, actor: Any) -> bool:
        """Send what is needed; false where it is not wanted any more."""
        if not self._wait(actor.has(replace(self._model, content={}))):
            self._wait(actor.take_model(self._model), silence_s=10 * SILENCE_S)
        array = np.asarray(self._volume.array)
        self._wait(actor.take_volume(array.shape, array.dtype.str))
        rows = max(1, PART * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            if self.closed.is_set():
                return False
            self._wait(actor.take_part(start, np.ascontiguousarray(array[start : start + rows])))
        about = replace(self._volume, array=np.broadcast_to(np.uint8(0), array.shape), notes=(), names=None)
        self._wait(actor.begin(about.affine, about.unit, about.spacing_known, about.oriented, replace(self._settings, device="auto")))
        return not self.closed.is_set()

    def _wait(self, future: Any, silence_s: float = SILENCE_S) -> Any:
        """The result of a future of Dask; None where it is not wanted any more."""
        from distributed import TimeoutError as DaskTimeoutError

        end = time.monotonic() + silence_s
        while not self.closed.is_set():
            try:
                return future.result(timeout=LOOK_S)
            except (DaskTimeoutError, TimeoutError):
                # The call of an actor whose scheduler has gone would wait for ever.
                if self._client.status != "running":
                    raise OSError("the scheduler has gone") from None
                if time.monotonic() > end:
                    raise _SilentError(f"no answer for {silence_s:.0f} s") from None
        return None

    def _lost(self, error: Exception) -> str:
        return say(
            "The cluster at {scheduler} stopped answering ({error}). Nothing of yours is lost: press again, or choose another device.",
            scheduler=self._scheduler,
            error=str(error) or type(error).__name__,
        )


class _Prediction:
    """One prediction on a worker, which Dask keeps there as an actor.

    Its methods are coroutines: all actors of a worker share one thread for others.
    """

    def __init__(self, version: str) -> None:
        from distributed import get_worker

        check_version(version)
        self._place = Path(get_worker().local_directory)
        self._ahead: _Ahead | None = None

    async def has(self, model: ModelFiles) -> bool:
        """Whether this worker has a model; its content is not needed."""
        self._folder = self._place / model.weights_sha256 / model.name
        return self._folder.is_dir()

    async def take_model(self, model: ModelFiles) -> None:
        self._folder = await asyncio.to_thread(model.put, self._place)

    async def take_volume(self, shape: tuple[int, ...], dtype: str) -> None:
        self._array = np.empty(shape, np.dtype(dtype))

    async def take_part(self, start: int, part: Any) -> None:
        self._array[start : start + len(part)] = part

    async def begin(self, affine: Any, unit: Any, spacing_known: bool, oriented: bool, settings: PredictSettings) -> None:
        volume = Volume(self._array, affine, unit, spacing_known, oriented)
        self._ahead = _Ahead(volume, self._folder, settings)

    async def next(self) -> list[Item | _End]:
        """What has been found since; nothing after a second without anything."""
        assert self._ahead is not None
        end = time.monotonic() + PATIENCE_S
        while not (found := self._ahead.take()) and time.monotonic() < end:
            await asyncio.sleep(0.005)
        return found

    async def close(self) -> None:
        self.__del__()

    def __del__(self) -> None:
        # Dask lets go of it where the client is gone.
        if (ahead := getattr(self, "_ahead", None)) is not None:
            ahead.closed.set()


class _Ahead:
    """Predicts in a thread of its own, at most so many slices ahead."""

    def __init__(self, volume: Volume, folder: Path, settings: PredictSettings) -> None:
        self._found: queue.Queue[Item | _End] = queue.Queue(AHEAD)
        self.closed = threading.Event()
        threading.Thread(target=self._run, args=(volume, folder, settings), name="predict", daemon=True).start()

    def take(self) -> list[Item | _End]:
        """All that is there."""
        found: list[Item | _End] = []
        with suppress(queue.Empty):
            while True:
                found.append(self._found.get_nowait())
        return found

    def _run(self, volume: Volume, folder: Path, settings: PredictSettings) -> None:
        end = _End()
        try:
            with closing(predict(volume, load_model(folder), settings)) as items:
                for item in items:
                    if not self._put(item):
                        return
        except InputError as error:
            end = _End(error)
        except MemoryError:
            end = _End(InputError(say("The memory of the cluster's worker does not suffice for this image; choose another device.")))
        except Exception as error:
            end = _End(RuntimeError(f"{error} ({type(error).__name__})"))
        self._put(end)

    def _put(self, item: Item | _End) -> bool:
        while not self.closed.is_set():
            with suppress(queue.Full):
                self._found.put(item, timeout=LOOK_S)
                return True
        return False
