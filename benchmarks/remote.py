"""Seconds to the first slice and to all slices of a scan: the engine here against a worker of a Dask cluster on the same machine.

    python benchmarks/remote.py

The sample CT, and its slices repeated and enlarged to 133 × 512 × 512. Each is predicted once unmeasured, so that programs and models are
loaded, then three times by each in turn; the medians are printed. Needs the extra ``cluster``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

import numpy as np

from napari_lungseg.engine.messages import Returned, Yielded
from napari_lungseg.engine.process import Engine
from napari_lungseg.library import find_model
from napari_lungseg.predicted import PredictedSlice
from napari_lungseg.sample import sample_ct
from napari_lungseg.volume import Volume, scaling

ROUNDS = 3
PORT = 18787
ADDRESS = f"tcp://127.0.0.1:{PORT}"


def measure(engine: Engine, volume: Volume, device: str) -> tuple[float, float]:
    """Seconds to the first slice, and to the last."""
    told: SimpleQueue[Any] = SimpleQueue()
    began, first = time.perf_counter(), 0.0
    engine.call("predict", volume, find_model("lung-ct"), device, None, 0, None, None, listener=told.put)
    while isinstance(message := told.get(), Yielded):
        if not first and isinstance(message.item, PredictedSlice):
            first = time.perf_counter() - began
    assert isinstance(message, Returned), message
    return first, time.perf_counter() - began


def large(sample: Volume) -> Volume:
    """A scan of 133 slices of 512 × 512."""
    rows, columns = (np.arange(512) * size // 512 for size in sample.shape[1:])
    array = np.asarray(sample.array)[np.arange(133) * len(sample.array) // 133][:, rows][:, :, columns]
    return Volume(np.ascontiguousarray(array), scaling((2.5, 0.7, 0.7)), "HU")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        python = [sys.executable, "-m"]
        scheduler = [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(PORT), "--no-dashboard"]
        worker = [*python, "distributed.cli.dask_worker", ADDRESS, "--no-nanny", "--no-dashboard", "--local-directory", str(Path(folder))]
        started = [subprocess.Popen(command, **options) for command in (scheduler, worker)]
        engine = Engine()
        try:
            print("| scan | device | first slice (s) | all slices (s) |\n|---|---|---|---|")
            sample = sample_ct()
            for volume in (sample, large(sample)):
                devices = {"this computer": "auto", "cluster": ADDRESS}
                took: dict[str, list[tuple[float, float]]] = {name: [] for name in devices}
                for number in range(ROUNDS + 1):
                    for name, device in devices.items():
                        one = measure(engine, volume, device)
                        if number:
                            took[name].append(one)
                for name, times in took.items():
                    first, whole = (median(column) for column in zip(*times, strict=True))
                    print(f"| {' x '.join(map(str, volume.shape))} | {name} | {first:.2f} | {whole:.2f} |", flush=True)
        finally:
            engine.close()
            for process in reversed(started):
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
