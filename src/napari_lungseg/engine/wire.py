"""Send and receive messages: pickled, but large arrays by handle, and nothing is unpickled but plain values of known classes."""

from __future__ import annotations

import importlib
import io
import pickle
import threading
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from napari_lungseg.engine.arrays import SMALLEST, Handle, drop, share, take

#: Modules whose classes are admitted, with all modules inside them.
_ROOMS = ("napari_lungseg", "numpy", "pathlib")
_BUILTINS = {("builtins", name) for name in ("bytearray", "complex", "frozenset", "range", "set", "slice")}
_OTHERS = {
    ("collections", "OrderedDict"),
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
}
#: By these numpy makes arrays and numbers again.
_FUNCTIONS = {"_reconstruct", "_frombuffer", "scalar"}


class Wire:
    """One end of a pipe; any thread may send, one receives.

    Parameters
    ----------
    connection : Connection
        The end of the pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message.

        Raises
        ------
        OSError
            When the other end is closed.
        MemoryError
            When there is no room for an array.
        """
        stream = io.BytesIO()
        pickler = _Pickler(stream, protocol=5)
        try:
            pickler.dump(message)
            with self._sending:
                self._connection.send_bytes(stream.getbuffer())
        except BaseException:
            for handle in pickler.handles.values():
                drop(handle)
            raise

    def receive(self) -> Any:
        """Wait for a message (EOFError or OSError when the other end is closed)."""
        return _Unpickler(io.BytesIO(self._connection.recv_bytes())).load()

    def poll(self, seconds: float) -> bool:
        """Wait at most so long for a message; tells whether there is one, or the end."""
        return self._connection.poll(seconds)

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


class _Pickler(pickle.Pickler):
    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        #: By the arrays' identities, so that an array that is sent twice in a message is one array there too.
        self.handles: dict[int, Handle] = {}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.nbytes <= SMALLEST or value.dtype.hasobject:
            return None
        if id(value) not in self.handles:
            self.handles[id(value)] = share(value)
        return self.handles[id(value)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._opened: dict[Handle, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, Handle):
            raise pickle.UnpicklingError(f"{pid!r} is no array")
        if pid not in self._opened:
            self._opened[pid] = take(pid)
        return self._opened[pid]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _BUILTINS | _OTHERS:
            return super().find_class(module, name)
        if module.partition(".")[0] in _ROOMS and "." not in name:
            found = getattr(importlib.import_module(module), name)
            if isinstance(found, type) or (module.startswith("numpy.") and name in _FUNCTIONS):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not admitted in a message")
