"""Many scans on one machine and on a Dask cluster: scans a minute, peak and growth of memory, a second run, a killed worker.

    python benchmarks/cohort.py [--scans 40] [--slices N] [--ct CT ...]

The scans are copies of the bundled sample, or of the CTs in turn, or of N slices in their midst, each with voxels of its own, so that none
is taken for another. Memory is the sum of what all processes that segment hold (USS). Its peak is the largest of ten looks a second, over
the first and the last third of the time; its growth is the slope of a line through what is held as each scan is done, without the first
fifth of them, and the standard error of that slope. It must not grow with the scans. A mask that was written before a worker is killed must
not be written again. Needs the extra ``cluster``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from napari_lungseg.formats import read, write
from napari_lungseg.sample import sample_ct

MIB = 1 << 20


def make_scans(folder: Path, number: int, cts: list[Path], slices: int | None) -> None:
    """Write the scans; each differs from its original in the first row of a corner."""
    originals = [read(ct) for ct in cts] or [sample_ct()]
    if slices is not None:
        starts = [(ct.shape[0] - slices) // 2 for ct in originals]
        originals = [ct.crop((slice(start, start + slices), slice(None), slice(None))) for ct, start in zip(originals, starts)]
    for index in range(number):
        volume = originals[index % len(originals)]
        array = np.array(volume.array)
        array[0, 0, :16] = -1000 + (index >> np.arange(16) & 1)
        write(volume.with_array(array), folder / f"scan{index:03d}.nii.gz")


class Watch(threading.Thread):
    """The memory of some processes and all below them, over time."""

    def __init__(self, roots: list[int]) -> None:
        super().__init__(daemon=True)
        self.roots, self.seen, self.over = roots, [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.seen.append(self.look())

    def look(self) -> int:
        total = 0
        for root in self.roots:
            try:
                process = psutil.Process(root)
                total += sum(one.memory_full_info().uss for one in (process, *process.children(recursive=True)))
            except psutil.Error:
                pass
        return total

    def thirds(self) -> str:
        self.over.set()
        self.join()
        third = max(1, len(self.seen) // 3)
        return " / ".join(f"{max(part, default=0) / MIB:.0f}" for part in (self.seen[:third], self.seen[-third:]))


def growth(held: list[int]) -> str:
    """MiB a scan and their standard error, from what was held as each was done."""
    settled = held[len(held) // 5 :]
    if len(settled) < 5:
        return ""
    line, covariance = np.polyfit(np.arange(len(settled)), np.array(settled) / MIB, 1, cov=True)
    return f"{line[0]:.3f} ± {covariance[0, 0] ** 0.5:.3f}"


def segment(
    scans: Path, out: Path, *options: str, roots: list[int] | None = None, kill: psutil.Process | None = None
) -> tuple[float, str, str, int]:
    """Seconds, peaks and growth of memory, and number of scans that were done in this run."""
    report = out.with_suffix(".json")
    command = [sys.executable, "-m", "napari_lungseg", "segment", str(scans), "-o", str(out), "--report", str(report), *options]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    watch = Watch(roots or [process.pid])
    watch.start()
    fresh, written, held = 0, {}, []
    for line in process.stdout:
        if "done already" not in line:
            fresh += 1
            held.append(watch.look())
        if kill is not None and fresh == 3:
            kill.kill()
            written = {mask: mask.stat().st_mtime_ns for mask in out.glob("*.nii.gz")}
            kill = None
    if process.wait():
        raise SystemExit(f"{command} failed")
    seconds, memory = time.perf_counter() - started, watch.thirds()
    runs = json.loads(report.read_text())["runs"]
    assert len(runs) == len(list(scans.iterdir()))
    assert not any("error" in one for one in runs)
    assert {mask: mask.stat().st_mtime_ns for mask in written} == written
    return seconds, memory, "" if written else growth(held), fresh


@contextmanager
def cluster(folder: Path, workers: int, profile: bool = False) -> Iterator[tuple[str, list[psutil.Process]]]:
    """A scheduler and workers, which share the cores; Dask profiles them where that is wanted."""
    folder.mkdir()
    file = folder / "scheduler.json"
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": str(profile)}
    started: list[psutil.Process] = []

    def start(program: str, *options: str) -> psutil.Process:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *options, "--host", "127.0.0.1", "--no-dashboard"]
        with (folder / "log").open("ab") as log:
            started.append(psutil.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment))
        return started[-1]

    try:
        start("dask_scheduler", "--scheduler-file", str(file), "--port", "0")
        while not file.exists() or not file.stat().st_size:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        yield address, [start("dask_worker", address, "--nthreads", "2", "--no-nanny", "--name", str(n)) for n in range(workers)]
    finally:
        for process in started:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--slices", type=int)
    parser.add_argument("--ct", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scans = Path(scratch, "scans")
        scans.mkdir()
        make_scans(scans, given.scans, given.ct, given.slices)
        print("| run | scans done | seconds | scans a minute | peak memory, first and last third (MiB) | growth (MiB a scan) |")
        print("|" + "---|" * 6, flush=True)

        def row(what: str, result: tuple[float, str, str, int]) -> None:
            seconds, memory, slope, done = result
            print(f"| {what} | {done} | {seconds:.1f} | {60 * done / seconds:.0f} | {memory} | {slope} |", flush=True)

        for jobs in (1, 2):
            row(f"{jobs} process{'es' * (jobs > 1)}", segment(scans, Path(scratch, f"jobs{jobs}"), "--jobs", str(jobs)))
        row("the same again", segment(scans, Path(scratch, "jobs2"), "--jobs", "2"))
        for name, workers, profile in (("1 worker", 1, False), ("2 workers", 2, False), ("1 worker that Dask profiles", 1, True)):
            with cluster(Path(scratch, name), workers, profile) as (address, processes):
                roots = [process.pid for process in processes]
                row(name, segment(scans, Path(scratch, f"{name} out"), "--scheduler", address, roots=roots))
        with cluster(Path(scratch, "killed"), 2) as (address, processes):
            roots = [process.pid for process in processes]
            row("2 workers, one killed", segment(scans, Path(scratch, "k"), "--scheduler", address, roots=roots, kill=processes[0]))
    print(f"\n{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
