"""Scores and seconds beside MONAI's, on a real scan.

    python benchmarks/metrics.py FOLDER

FOLDER holds `ct.nii.gz` and `lungs.nii.gz`, its known mask (such as LIDC-IDRI-1011). What `lung-ct` finds in the CT is compared with the
mask; and once more with both repeated along z to 300 slices. MONAI (in the extra `test`) does it with the same spacing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice

from napari_lungseg.formats import read
from napari_lungseg.metrics import TOLERANCE_MM, evaluate, evaluate_slices
from napari_lungseg.model import load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume

SLICES = 300


def timed(function: Callable[[], object]) -> tuple[object, float]:
    """What a function gives, and its seconds (the better of two runs)."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - started)
    return result, min(seconds)


def one_hot(volume: Volume) -> torch.Tensor:
    """As MONAI wants a mask."""
    mask = np.asarray(volume.array) > 0
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.uint8))


def lungs(volume: Volume, slices: int) -> Volume:
    """The whole lungs, repeated along z."""
    array = np.asarray(volume.array) > 0
    return Volume(np.resize(array, (slices, *array.shape[1:])).astype(np.uint8), volume.affine)


def table(found: Volume, known: Volume) -> None:
    """Print one pair."""
    scores, seconds = timed(lambda: evaluate(found, known)["lungs"])
    _, by_slice = timed(lambda: evaluate_slices(found, known))
    both, spacing = (one_hot(found), one_hot(known)), known.spacing
    monai: dict[str, Callable[[], torch.Tensor]] = {
        "dice": lambda: compute_dice(*both, include_background=False),
        "iou": lambda: compute_iou(*both, include_background=False),
        "hd95_mm": lambda: compute_hausdorff_distance(*both, percentile=95, spacing=spacing),
        "assd_mm": lambda: compute_average_surface_distance(*both, symmetric=True, spacing=spacing),
        "nsd": lambda: compute_surface_dice(*both, class_thresholds=[TOLERANCE_MM], spacing=spacing),
        "nsd, by area": lambda: compute_surface_dice(*both, class_thresholds=[TOLERANCE_MM], spacing=spacing, use_subvoxels=True),
    }
    print(f"\n{' x '.join(map(str, known.shape))} voxels of {' x '.join(f'{step:.3g}' for step in spacing)} mm")
    print("\n| score | ours | MONAI's | MONAI's seconds |\n|---|---|---|---|")
    total = 0.0
    for name, function in monai.items():
        value, taken = timed(function)
        total += taken if name != "nsd, by area" else 0.0
        ours = f"{getattr(scores, name):.6f}" if hasattr(scores, name) else ""
        print(f"| {name} | {ours} | {float(value):.6f} | {taken:.2f} |", flush=True)
    print(f"| all but the last | in {seconds:.2f} s together, specificity, volumes and the rest included | | {total:.2f} |")
    print(f"| the same for each slice | in {by_slice:.2f} s | | |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    ct, known = read(options.folder / "ct.nii.gz"), read(options.folder / "lungs.nii.gz")
    found = segment(ct, load_model("lung-ct"), device="cpu").labels
    for slices in (known.shape[0], SLICES):
        table(lungs(found, slices), lungs(known, slices))


if __name__ == "__main__":
    main()
