"""How the child process of an engine is started, and connected to its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import spawn
from typing import Any

from napari_lungseg.engine.wire import Wire
from napari_lungseg.translation import say


def start_child(output: Any) -> tuple[subprocess.Popen[bytes], Wire]:
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


def end_of(status: int | None) -> str:
    """Say how a child ended."""
    if status is None or status >= 0:
        return say("exit status {status}", status=status)
    if status == -signal.SIGKILL:
        return say("killed by signal 9, perhaps for lack of memory")
    return say("killed by signal {number}", number=-status)
