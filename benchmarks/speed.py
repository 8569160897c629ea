"""Time and memory of a whole segmentation, beside the network of the usual alternative.

    python benchmarks/speed.py [CT ...] [--device auto] [--rounds N]
    python benchmarks/speed.py --shared [ROUNDS]

Without arguments the bundled sample is segmented, with each runtime in turn, N times (1): OpenVINO in int8 and in float32, and torch.
CPU time a slice depends less on what else the machine does than slices/s do. The alternative is what lungmask runs (a U-Net with 31
million parameters on 256 x 256 slices; here with random weights, as only its time counts), called slice by slice in plain eager mode.

With --shared, the sample is segmented by ``napari-lungseg segment`` on all cores, then with one of them taken by another program (Linux
only), each as the package sets OpenMP's threads to wait and as they wait by default. The best of ROUNDS (3) is shown.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

ALTERNATIVE_SLICES = 4
RUNTIMES = ("OpenVINO int8", "OpenVINO float32", "torch")


def measure(path: str | None, device: str, runtime: str) -> None:
    """Print one line; meant for a process of its own, so that its start and its peak memory are its own."""
    started = time.perf_counter()
    hide(runtime)
    from napari_lungseg.formats import read
    from napari_lungseg.model import load_model
    from napari_lungseg.sample import sample_ct
    from napari_lungseg.segmentation import segment

    importing = time.perf_counter() - started
    started = time.perf_counter()
    volume = sample_ct() if path is None else read(path)
    reading = time.perf_counter() - started
    model = load_model("lung-ct")
    if runtime == "OpenVINO float32":
        model.card = replace(model.card, int8=None)
    started, busy = time.perf_counter(), time.process_time()
    moments: list[float] = []
    result = segment(volume, model, device=device, progress=lambda done, total: moments.append(time.perf_counter() - started))
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    slices = len(moments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    cells = (
        Path(path).name if path else "sample",
        " x ".join(str(n) for n in volume.shape),
        result.runtime,
        f"{command(path, device, runtime):.1f}",
        f"{importing:.1f}",
        f"{reading:.1f}",
        f"{moments[0]:.2f}",
        f"{moments[-1]:.1f}",
        f"{seconds - moments[-1]:.1f}",
        f"{slices / moments[-1]:.1f}",
        f"{1000 * busy / slices:.0f}",
        f"{peak:.0f}",
        f"{np.count_nonzero(result.labels.array)}",
    )
    print("| " + " | ".join(cells) + " |", flush=True)


def hide(runtime: str) -> None:
    """Make torch do the work where it is to be measured."""
    if runtime == "torch":
        sys.modules["openvino"] = None


def command(path: str | None, device: str, runtime: str) -> float:
    """Seconds of the whole command ``napari-lungseg segment``; NaN where it cannot be told to use the runtime."""
    if runtime == "OpenVINO float32":
        return math.nan
    source = path or str(resources.files("napari_lungseg") / "samples" / "ct.nii.gz")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["napari-lungseg", "segment", source, "-o", str(Path(scratch, "lungs.nii.gz")), "--device", device]
        hidden = "sys.modules['openvino'] = None; " if runtime == "torch" else ""
        code = f"import sys; {hidden}sys.argv = {arguments!r}; from napari_lungseg.cli import main; main()"
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return time.perf_counter() - started


def alternative(device: str) -> float:
    """Slices per second of the article's U-Net on 256 x 256."""
    import torch

    from napari_lungseg.device import choose_device
    from napari_lungseg.unet import UNet

    place = choose_device(device)
    network = UNet().eval().to(place)
    image = torch.zeros(1, 1, 256, 256, device=place)
    with torch.inference_mode():
        float(network(image).sum())
        started = time.perf_counter()
        for _ in range(ALTERNATIVE_SLICES):
            float(network(image).sum())
    return ALTERNATIVE_SLICES / (time.perf_counter() - started)


@contextmanager
def taken(core: int | None) -> Iterator[None]:
    """Have another process use a core all the time."""
    if core is None:
        yield
        return
    busy = subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def shared(rounds: int) -> None:
    """Print how long the sample takes with all cores and with one of them taken."""
    waits = {
        "sleeping (as the package sets it)": {},
        "spinning (OpenMP's default)": {"GOMP_SPINCOUNT": "30000000000", "KMP_BLOCKTIME": "200"},
    }
    ways = {(name, core): [] for core in (None, min(os.sched_getaffinity(0))) for name in waits}
    sample = resources.files("napari_lungseg") / "samples" / "ct.nii.gz"
    free = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "run.json")
        command = [sys.executable, "-m", "napari_lungseg", "segment", str(sample), "-o", str(Path(scratch, "lungs.nii.gz"))]
        # In turns, so that what else the machine does meets all alike.
        for _ in range(rounds):
            for (name, core), seconds in ways.items():
                with taken(core):
                    subprocess.run([*command, "--report", str(report)], check=True, capture_output=True, env=free | waits[name])
                seconds.append(json.loads(report.read_text())["runs"][0]["seconds"])
    print("| threads wait | all cores (s) | one core taken (s) | times |")
    print("|" + "---|" * 4)
    for name in waits:
        alone, crowded = (min(seconds) for (way, _), seconds in ways.items() if way == name)
        print(f"| {name} | {alone:.2f} | {crowded:.2f} | {crowded / alone:.1f} |")
    print(f"\nbest of {rounds}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="*")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--shared", nargs="?", type=int, const=3, metavar="ROUNDS")
    options = parser.parse_args()
    if options.shared:
        shared(options.shared)
        return
    columns = ("image", "voxels", "runtime", "command (s)", "start (s)", "read (s)", "first slice (s)", "network (s)", "mask (s)")
    columns += ("slices/s", "CPU ms a slice", "peak memory (MiB)", "lung voxels")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    for _ in range(options.rounds):
        for path in options.ct or [None]:
            for runtime in RUNTIMES:
                process = multiprocessing.get_context("spawn").Process(target=measure, args=(path, options.device, runtime))
                process.start()
                process.join()
    print(f"\narticle U-Net, 256 x 256, eager, torch: {alternative(options.device):.2f} slices/s")
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
