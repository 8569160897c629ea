"""Write what the package nnunetv2 makes of slices of the sample CT, with weights by chance, for the tests that run without it.

pip install nnunetv2==2.8.1
python tools/make_nnunet_reference.py tests/data/nnunet.npz
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_name, "none")


class _NoTorchvision:
    """Empty modules in place of torchvision, which nnunetv2's own needs import but do not use, where it was built for another torch."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torchvision" else None

    def create_module(self, spec: ModuleSpec) -> MagicMock:
        return MagicMock(__path__=[], __spec__=spec, __name__=spec.name)

    def exec_module(self, module: MagicMock) -> None:
        pass


try:
    import torchvision  # noqa: F401
except RuntimeError:
    sys.meta_path.insert(0, _NoTorchvision())

from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402

from napari_lungseg.sample import sample_ct  # noqa: E402
from napari_lungseg.volume import Volume  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from nnunet_files import CASES, LOOKED_AT, write_export  # noqa: E402


def predictor(folder: Path) -> nnUNetPredictor:
    """nnU-Net's own, for an export."""
    found = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, use_mirroring=True, allow_tqdm=False)
    found.initialize_from_trained_model_folder(str(folder), None)
    return found


def package_result(folder: Path, ct: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Labels (Z, Y, X) and probabilities (classes + 1, Z, Y, X) of an image by nnU-Net."""
    given = np.asarray(ct.array, np.float32)[None]
    labels, probabilities = predictor(folder).predict_single_npy_array(given, {"spacing": list(ct.spacing)}, None, None, True)
    return np.asarray(labels), np.asarray(probabilities)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    ct, labels = sample_ct().crop(LOOKED_AT), {}
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            labels[case] = package_result(write_export(Path(folder) / str(number), case), ct)[0].astype(np.uint8)
        turned = write_export(Path(folder) / "turned", "3-D anisotropic, two folds", transpose=(1, 0, 2))
        labels["transposed"] = package_result(turned, ct)[0].astype(np.uint8)
    np.savez_compressed(arguments.output, **labels)


if __name__ == "__main__":
    main()
