"""Work on a worker of a Dask cluster: an actor answers those who ask, and a thread of its own does the work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_lungseg.errors import InputError
from napari_lungseg.remote.errand import SILENCE_S, End
from napari_lungseg.remote.model_files import ModelFiles

#: Seconds after which a worker answers also where it has nothing new.
PATIENCE_S = 0.5
#: Seconds between two looks at what is asked.
LOOK_S = 0.05


class UnwantedError(Exception):
    """Nobody wants the work any more."""


class Background:
    """Work in a thread of its own, which goes ahead of those who ask for what was found.

    Parameters
    ----------
    work : callable
        Does it; it is given this, and hands over what it finds by :meth:`put`.
    most : int
        So many items wait to be taken at most; then the work does.
    no_memory : str
        What to say where the memory does not suffice.
    """

    def __init__(self, work: Callable[[Background], None], most: int, no_memory: str) -> None:
        self._work, self._most, self._no_memory = work, most, no_memory
        self._items: list[Any] = []
        self._files: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._asked = time.monotonic()
        self.closed = threading.Event()
        threading.Thread(target=self._run, name="errand", daemon=True).start()

    def take(self) -> tuple[list[Any], dict[str, bytes]]:
        """All that was found since, and the files that have changed."""
        with self._changed:
            self.heard()
            items, self._items = self._items, []
            files, self._files = self._files, {}
            self._changed.notify()
        return items, files

    def heard(self) -> None:
        """Note that somebody wants it still."""
        self._asked = time.monotonic()

    def check(self) -> None:
        """Go on only where somebody wants it still (UnwantedError): a network that is lost closes nothing."""
        if self.closed.is_set() or time.monotonic() > self._asked + SILENCE_S:
            raise UnwantedError

    def put(self, item: Any, files: dict[str, bytes] | None = None) -> None:
        """Hand over an item, and files, of which the last of each name counts (UnwantedError where nobody wants it)."""
        with self._changed:
            while len(self._items) >= self._most:
                self.check()
                self._changed.wait(LOOK_S)
            self.check()
            self._items.append(item)
            self._files |= files or {}

    def _run(self) -> None:
        end = End()
        try:
            self._work(self)
        except UnwantedError:
            return
        except InputError as error:
            end = End(error)
        except MemoryError:
            end = End(InputError(self._no_memory))
        except Exception as error:
            end = End(RuntimeError(f"{error} ({type(error).__name__})"))
        with self._changed:
            self._items.append(end)


class Actor:
    """One errand on a worker, which Dask keeps there.

    Its methods are coroutines: all actors of a worker share one thread for others. What works in the background must not know it, as Dask
    lets go of it where the client has gone, and that ends the work.
    """

    def __init__(self) -> None:
        from distributed import get_worker

        self.place = Path(get_worker().local_directory)
        self.model: Path | None = None
        self.background: Background | None = None

    async def has(self, model: ModelFiles) -> bool:
        """Whether this worker has a model; its content is not needed."""
        self.model = model.folder(self.place)
        return self.model.is_dir()

    async def take_model(self, model: ModelFiles) -> None:
        """Keep a model."""
        self.model = await asyncio.to_thread(model.put, self.place)

    async def found(self) -> tuple[list[Any], dict[str, bytes]]:
        """What has been found since; nothing after a while without anything."""
        assert self.background is not None
        end = time.monotonic() + PATIENCE_S
        while not (taken := self.background.take())[0] and time.monotonic() < end:
            await asyncio.sleep(0.005)
        return taken

    async def close(self) -> None:
        """End the work."""
        self.__del__()

    def __del__(self) -> None:
        if (background := getattr(self, "background", None)) is not None:
            background.closed.set()
