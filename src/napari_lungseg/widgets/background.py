"""Functions that run off the GUI thread, by napari's workers, without what these worked on staying in memory.

napari notes every worker, and how to end it, for as long as the program runs; so the images of a worker would never go.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from weakref import ref

from napari.qt import threading


def create_worker(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """A worker that runs a function, or the steps of a generator, once it is started.

    Parameters
    ----------
    function : callable
        What is done.
    *args, **keywords
        With what.

    Returns
    -------
    worker : FunctionWorker or GeneratorWorker
        Of napari, and not yet started.
    """
    kind = _Generator if inspect.isgeneratorfunction(function) else _Function
    return threading.create_worker(function, *args, _start_thread=False, _worker_class=kind, **keywords)


def _without_holding(worker: Any, end: Callable[[Any], None]) -> Callable[[], None]:
    known = ref(worker)

    def quit_if_there() -> None:
        there = known()
        if there is not None:
            end(there)

    return quit_if_there


class _Function(threading.FunctionWorker):
    @property
    def quit(self) -> Callable[[], None]:
        return _without_holding(self, super(_Function, type(self)).quit)


class _Generator(threading.GeneratorWorker):
    @property
    def quit(self) -> Callable[[], None]:
        return _without_holding(self, super(_Generator, type(self)).quit)
