"""Write what the package lungmask makes of slices of the sample CT, with seeded weights, for the tests that run without it.

pip install lungmask==0.2.22
python tools/make_lungmask_reference.py tests/data/lungmask.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import lungmask.mask
import lungmask.utils
import numpy as np
import torch
from lungmask.resunet import UNet

from napari_lungseg.sample import sample_ct

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lungmask_files import DEPTH, SMALL_WIDTH, seeded_weights

#: Slices of the sample that are looked at, and which of the planes' pixels are kept.
SLICES, THIN = slice(10, 14), 16


def package_network(classes: int, width: int) -> torch.nn.Module:
    """lungmask's own network with seeded weights; it takes widths that are powers of two."""
    network = UNet(
        n_classes=classes,
        padding=True,
        depth=DEPTH + 1,
        wf=width.bit_length() - 1,
        up_mode="upsample",
        batch_norm=True,
        residual=False,
    )
    network.load_state_dict(seeded_weights(classes, width))
    return network.eval()


def package_inputs(hu: np.ndarray) -> np.ndarray:
    """What the package gives its network (Z, 256, 256)."""
    planes, _ = lungmask.utils.preprocess(hu, resolution=[256, 256])
    planes[planes > 600] = 600
    return np.divide(planes + 1024, 1624).astype(np.float32)


def package_labels(hu: np.ndarray, network: torch.nn.Module, *, postprocess: bool) -> np.ndarray:
    """The labels that the package makes of a volume."""
    load, lungmask.mask.get_model = lungmask.mask.get_model, lambda *_: network
    try:
        inferer = lungmask.mask.LMInferer(
            modelpath="seeded", force_cpu=True, batch_size=1, volume_postprocessing=postprocess, tqdm_disable=True
        )
    finally:
        lungmask.mask.get_model = load
    return inferer.apply(hu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    hu = np.ascontiguousarray(sample_ct().reorient()[0].array[SLICES])
    inputs = package_inputs(hu)
    kept = {"inputs": inputs[:, ::THIN, ::THIN]}
    for classes in (3, 6):
        network = package_network(classes, SMALL_WIDTH)
        with torch.inference_mode():
            kept[f"log_{classes}"] = network(torch.from_numpy(inputs[:, None]))[:, :, ::THIN, ::THIN].numpy()
        for postprocess in (False, True):
            kept[f"labels_{classes}_{postprocess}"] = package_labels(hu, network, postprocess=postprocess)
    np.savez_compressed(path, **kept)


if __name__ == "__main__":
    main()
