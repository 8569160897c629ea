"""Reading images, however long it takes, to know them by their content."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from napari_lungseg.widgets.saving.target import SaveTarget


class _EndedError(Exception):
    """Nobody needs what is being read any more."""


class ImageReader:
    """Reads the images of targets, each in a thread of its own; of one layer one volume after the other.

    Parameters
    ----------
    failed : callable
        Called, in that thread, with a target whose image cannot be read, and the error.
    ended : callable
        Called, in that thread, whenever an image has been read or not.
    """

    def __init__(self, failed: Callable[[SaveTarget, Exception], None], ended: Callable[[], None]) -> None:
        self._failed, self._ended = failed, ended
        #: Targets whose images are being read, and since when.
        self._since: dict[SaveTarget, float] = {}
        self._lock = threading.Lock()
        self._closing = False

    def is_busy_with(self, target: SaveTarget) -> bool:
        """Whether a target's image is being read, or will be after another volume of it."""
        with self._lock:
            return any(target is other or (target.content is None and target.layer is other.layer) for other in self._since)

    def start(self, target: SaveTarget) -> None:
        """Begin to read the image of a target that it is not busy with."""
        with self._lock:
            self._since[target] = time.monotonic()
        threading.Thread(target=self._read, args=(target,), name=f"napari-lungseg reads {target.name}", daemon=True).start()

    @property
    def longest(self) -> tuple[str, float]:
        """The image that is being read for the longest, and the seconds that it has taken; 0 if none is."""
        with self._lock:
            first = min(self._since.items(), key=lambda item: item[1], default=None)
        return ("", 0.0) if first is None else (first[0].name, time.monotonic() - first[1])

    def close(self) -> None:
        """End all reading soon."""
        self._closing = True

    def _read(self, target: SaveTarget) -> None:
        try:
            target.read_content(self._check)
        except _EndedError:
            pass
        except Exception as error:
            self._failed(target, error)
        with self._lock:
            del self._since[target]
        self._ended()

    def _check(self) -> None:
        if self._closing:
            raise _EndedError
