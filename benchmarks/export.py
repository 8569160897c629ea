"""Size, agreement with torch and speed of a model in each exported format and precision.

    python benchmarks/export.py [MODEL] [--rounds N]

All run on the CPU, on the sample's slices as the graphs take them, one at a time; the best of N rounds (3), each format in turn.
Needs the extra `export`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.export.check import expected, sample_images
from napari_lungseg.export.write import export_model
from napari_lungseg.model import load_model

FILES = [
    ("ONNX Runtime", "model_{}.onnx", ("float32", "float16", "int8")),
    ("OpenVINO", "model_{}.xml", ("float32", "float16", "int8")),
    ("TorchScript", "model_{}.pt", ("float32",)),
]

Run = Callable[[np.ndarray], np.ndarray]


def runner(path: Path) -> Run:
    """What runs a file with as many threads as there are cores for this process."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {"image": image})[0]
    if path.suffix == ".xml":
        from napari_lungseg.export.openvino_file import read_compiled

        compiled = read_compiled(path)
        return lambda image: compiled(image)[0]
    from napari_lungseg.export.torchscript import read_program

    return read_program(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="lung-ct")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = load_model(arguments.model)
    images = sample_images(model)
    rows: list[tuple[str, str, str, str, str]] = []
    runs: list[Run] = [lambda image: expected(model, image)]
    rows.append(("torch, this package", "float32", "", "", ""))
    with tempfile.TemporaryDirectory() as folder:
        for program, name, precisions in FILES:
            for precision in precisions:
                path = Path(folder) / name.format(precision)
                try:
                    done = export_model(model, path, precision=precision)
                except InputError as error:
                    print(f"{program} {precision}: {error}")
                    continue
                found = done.agreement
                rows.append((program, precision, f"{done.bytes / 2**20:.1f}", f"{found.difference:.1e}", f"{found.dice:.4f}"))
                runs.append(runner(path))
        seconds = [float("inf")] * len(runs)
        for _ in range(arguments.rounds):
            for place, run in enumerate(runs):
                run(images[:1])
                started = time.perf_counter()
                for image in images:
                    run(image[None])
                seconds[place] = min(seconds[place], time.perf_counter() - started)
    height, width = images.shape[2:]
    print(f"{arguments.model}, {len(images)} slices of {height} x {width} pixels, {len(os.sched_getaffinity(0))} cores\n")
    print("| program | precision | MiB | largest difference | Dice | slices/s |\n|---|---|---|---|---|---|")
    for (program, precision, size, difference, dice), spent in zip(rows, seconds, strict=True):
        print(f"| {program} | {precision} | {size} | {difference} | {dice} | {len(images) / spent:.1f} |")


if __name__ == "__main__":
    main()
