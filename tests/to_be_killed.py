"""Processes that a test kills, forked from one that has imported what they need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CODE = """
import os, sys
{imports}
def work():
{work}
for _ in sys.stdin:
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        work()
        os._exit(0)
    os.waitpid(child, 0)
    print("it has ended", flush=True)
"""


class Forks:
    """A program that is started again and again at the price of one start.

    Parameters
    ----------
    imports, work : str
        Python: what is run once, and the lines that each process runs.
    """

    def __init__(self, imports: str, work: str) -> None:
        code = _CODE.format(imports=imports, work="\n".join(f"    {line}" for line in work.splitlines()))
        self._origin = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @contextmanager
    def started(self) -> Iterator[Iterator[str]]:
        """Start one, give the lines that it prints, and kill it."""
        print(file=self._origin.stdin, flush=True)
        lines = iter(self._origin.stdout.readline, "")
        number = int(next(lines))
        try:
            yield lines
        finally:
            os.kill(number, signal.SIGKILL)
            assert "it has ended\n" in lines

    def close(self) -> None:
        self._origin.kill()
        self._origin.communicate()
