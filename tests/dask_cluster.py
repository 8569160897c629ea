"""A real Dask cluster on this machine."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path

import psutil

START_S = 60.0


class Cluster:
    """A scheduler and workers, each a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "scheduler.json"
        options = ("--scheduler-file", str(self._file), "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self._names = (f"worker-{number}" for number in itertools.count())
        self._processes = [self._start("dask_scheduler", *options)]
        self.scheduler = self._processes[0]
        # The scheduler does not write it whole.
        self.wait(lambda: self._file.exists() and self._file.read_text().endswith("}"))
        self.address = json.loads(self._file.read_text())["address"]

    def _start(self, program: str, *arguments: str, threads: str | None = "1") -> psutil.Process:
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = threads
        with (self.folder / f"{program}.log").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
            return psutil.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)

    def add_worker(self, name: str, *options: str, threads: str | None = "1") -> psutil.Process:
        """A worker, by default without a nanny, which would start another in its place; ``threads`` as a person says them."""
        local = self.folder / name
        place = ("--name", name, "--nthreads", "2", "--host", "127.0.0.1", "--local-directory", str(local), "--no-dashboard")
        worker = self._start("dask_worker", self.address, *place, *(options or ("--no-nanny",)), threads=threads)
        self._processes.append(worker)
        self.wait(local.exists)
        return worker

    def worker(self) -> psutil.Process:
        """The worker that there is, or a new one where the last was killed."""
        return self._processes[1] if len(self._processes) > 1 else self.add_worker(next(self._names))

    def kill(self, process: psutil.Process) -> None:
        """End the scheduler or a worker at once."""
        self._processes.remove(process)
        process.kill()
        process.wait()

    def wait(self, condition) -> None:
        end = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > end or not all(process.is_running() for process in self._processes):
                raise RuntimeError("".join(file.read_text() for file in self.folder.glob("*.log")))
            time.sleep(0.02)

    def close(self) -> None:
        for process in self._processes:
            if process.is_running():
                for one in (*process.children(recursive=True), process):
                    one.kill()
            process.wait()
