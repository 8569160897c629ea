"""The child process of an engine: one thread for each job, and one that listens."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator
from multiprocessing import connection
from typing import Any, NoReturn

from napari_lungseg.engine.arrays import remove_folders, remove_own_folders
from napari_lungseg.engine.control import CancelledError, Control
from napari_lungseg.engine.jobs import find_job
from napari_lungseg.engine.messages import PROTOCOL, Bye, Cancel, Cancelled, Failed, Hello, Pause, Put, Resume, Returned, Start, Stop
from napari_lungseg.engine.wire import Wire
from napari_lungseg.errors import InputError


def main(pipe: int, parent: int) -> NoReturn:
    """Serve until the pipe closes, also in the middle of a job.

    Parameters
    ----------
    pipe : int
        File descriptor, on Windows the handle, of this end of the pipe.
    parent : int
        Number of the parent's process.
    """
    # Ctrl+C in a terminal is for napari.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ends: Any = getattr(connection, "PipeConnection", connection.Connection)
    wire = Wire(ends(pipe))
    said_bye = False
    with contextlib.suppress(EOFError, OSError):
        # What segments is loaded here, before there is a job.
        from napari_lungseg.runtimes import list_devices, load_runtime

        load_runtime()
        find_job("predict")
        wire.send(Hello(PROTOCOL, tuple(list_devices())))
        said_bye = _serve(wire)
    if not said_bye:
        remove_folders(parent)
    remove_own_folders()
    # A job may be in the midst of native code.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _serve(wire: Wire) -> bool:
    """Start and control jobs; true once the parent has said good-bye."""
    running: dict[int, Control] = {}
    while True:
        message = wire.receive()
        if isinstance(message, Bye):
            return True
        if isinstance(message, Start):
            _start(wire, message, running)
            continue
        control = running.get(message.number)
        if control is None:
            continue
        if isinstance(message, Put):
            control.put(message)
        else:
            ask = {Cancel: control.cancel, Pause: control.pause, Resume: control.resume, Stop: control.stop}
            ask[type(message)]()


def _start(wire: Wire, start: Start, running: dict[int, Control]) -> None:
    def work() -> None:
        try:
            wire.send(_run(start, control))
        except OSError:
            return  # the parent has gone, which the main thread sees too
        except MemoryError as error:
            wire.send(Failed(start.number, str(error), "memory", traceback.format_exc()))
        finally:
            running.pop(start.number, None)

    control = running[start.number] = Control(start.number, wire.send)
    threading.Thread(target=work, name=start.job, daemon=True).start()


def _run(start: Start, control: Control) -> Returned | Failed | Cancelled:
    """Run a job to its end."""
    try:
        job = find_job(start.job)
        made: Any = job(control, *start.args)
        value = _stream(made, control) if inspect.isgenerator(made) else made
        return Returned(start.number, value)
    except CancelledError:
        return Cancelled(start.number)
    except InputError as error:
        return Failed(start.number, str(error), "input")
    except MemoryError as error:
        return Failed(start.number, str(error), "memory", traceback.format_exc())
    except Exception as error:
        text = f"{error} ({type(error).__name__})" if str(error) else type(error).__name__
        return Failed(start.number, text, "other", traceback.format_exc())


def _stream(items: Generator[Any, Any, Any], control: Control) -> Any:
    """Send what a generator yields; gives what it returns."""
    with contextlib.closing(items):
        while True:
            control.check()
            try:
                item = next(items)
            except StopIteration as end:
                return end.value
            control.report(item)
