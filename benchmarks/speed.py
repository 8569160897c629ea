"""Time and memory of a whole segmentation, beside the network of the usual alternative.

    python benchmarks/speed.py [CT ...] [--device auto]

Without arguments the bundled sample is segmented. The alternative is what lungmask runs (a U-Net with 31 million parameters on
256 x 256 slices; here with random weights, as only its time counts), called slice by slice in plain eager mode.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="*")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    print("| image | voxels | device | read (s) | first slice (s) | network (s) | mask (s) | slices/s | peak memory (MiB) | lung voxels |")
    print("|" + "---|" * 10, flush=True)
    for path in options.ct or [None]:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(path, options.device))
        process.start()
        process.join()
    print(f"\narticle U-Net, 256 x 256, eager: {alternative(options.device):.2f} slices/s")


if __name__ == "__main__":
    main()
