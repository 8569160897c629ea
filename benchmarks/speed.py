"""Time and memory of a whole segmentation, beside the network of the usual alternative.

    python benchmarks/speed.py [CT ...] [--device auto]
    python benchmarks/speed.py --shared [ROUNDS]

Without arguments the bundled sample is segmented. The alternative is what lungmask runs (a U-Net with 31 million parameters on
256 x 256 slices; here with random weights, as only its time counts), called slice by slice in plain eager mode.

With --shared, the sample is segmented by ``napari-lungseg segment`` on all cores, then with one of them taken by another program (Linux
only), each as the package sets OpenMP's threads to wait and as they wait by default. The best of ROUNDS (3) is shown.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import numpy as np

ALTERNATIVE_SLICES = 4


def measure(path: str | None, device: str) -> None:
    """Print one line; meant for a process of its own, so that its peak memory is its own."""
    from napari_lungseg.formats import read
    from napari_lungseg.model import load_model
    from napari_lungseg.sample import sample_ct
    from napari_lungseg.segmentation import segment

    started = time.perf_counter()
    volume = sample_ct() if path is None else read(path)
    reading = time.perf_counter() - started
    model = load_model("lung-ct")
    started = time.perf_counter()
    moments: list[float] = []
    result = segment(volume, model, device=device, progress=lambda done, total: moments.append(time.perf_counter() - started))
    seconds = time.perf_counter() - started
    slices = len(moments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    voxels = " x ".join(str(n) for n in volume.shape)
    print(
        f"| {Path(path).name if path else 'sample'} | {voxels} | {result.device} | {reading:.1f} | {moments[0]:.2f} | {moments[-1]:.1f} | "
        f"{seconds - moments[-1]:.1f} | {slices / moments[-1]:.1f} | {peak:.0f} | {np.count_nonzero(result.labels.array)} |",
        flush=True,
    )


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
    parser.add_argument("--shared", nargs="?", type=int, const=3, metavar="ROUNDS")
    options = parser.parse_args()
    if options.shared:
        shared(options.shared)
        return
    print("| image | voxels | device | read (s) | first slice (s) | network (s) | mask (s) | slices/s | peak memory (MiB) | lung voxels |")
    print("|" + "---|" * 10, flush=True)
    for path in options.ct or [None]:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(path, options.device))
        process.start()
        process.join()
    print(f"\narticle U-Net, 256 x 256, eager: {alternative(options.device):.2f} slices/s")


if __name__ == "__main__":
    main()
