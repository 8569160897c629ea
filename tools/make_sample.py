"""Make the package's sample scan from patient Lung_Dx-A0002 of the Lung-PET-CT-Dx collection.

    python tools/make_sample.py FOLDER

FOLDER holds the DICOM series in ``dicom_b40f`` and the mask ``lungs.nii.gz``. Both are halved in the plane: the CT by the mean
of 2 x 2 pixels, the mask by majority. The lungs are told apart by their place: the right one has the smaller x in LPS.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cc3d
import numpy as np

from napari_lungseg.formats import read, write
from napari_lungseg.volume import Volume

SAMPLES = Path(__file__).resolve().parents[1] / "src" / "napari_lungseg" / "samples"


def halve(volume: Volume) -> Volume:
    """Mean of 2 x 2 pixels, as float, with the geometry of the coarser grid."""
    slices, rows, columns = volume.shape
    array = volume.array.reshape(slices, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    coarser = np.diag([1.0, 2.0, 2.0, 1.0])
    coarser[1:3, 3] = 0.5
    return Volume(array, volume.affine @ coarser, volume.unit)


def sides(lung: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Right lung 1, left lung 2: each component by its centre, seen from the middle of all."""
    parts, count = cc3d.connected_components(lung, connectivity=6, return_N=True)
    middle = _x(lung, affine)
    labels = np.zeros(lung.shape, np.uint8)
    for part in range(1, count + 1):
        here = parts == part
        labels[here] = 1 if _x(here, affine) < middle else 2
    return labels


def _x(where: np.ndarray, affine: np.ndarray) -> float:
    return float((affine @ np.append(np.argwhere(where).mean(axis=0), 1.0))[0])


def main(folder: Path) -> None:
    ct = halve(read(folder / "dicom_b40f"))
    lungs = halve(read(folder / "lungs.nii.gz"))
    if not np.allclose(ct.affine, lungs.affine, atol=1e-3):
        raise SystemExit("The mask does not lie on the grid of the CT.")
    labels = sides(lungs.array >= 0.5, ct.affine)
    write(ct.with_array(np.rint(ct.array).astype(np.int16), "HU"), SAMPLES / "ct.nii.gz")
    write(ct.with_array(labels), SAMPLES / "lungs.nii.gz")
    print("voxels of the right and the left lung:", *(int((labels == side).sum()) for side in (1, 2)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
