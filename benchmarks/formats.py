"""Do other libraries find the same numbers in the same places, and how long does reading take?

    python benchmarks/formats.py FOLDER

Every image below FOLDER (a sub-folder for each data set) is read by this package, by SimpleITK, and by nibabel (NIfTI) or pydicom (DICOM).
Prints a Markdown table: seconds, the largest difference of any voxel, and how far apart any corner of the volume lies. Files are read once
before anything is timed, so that the disk does not count.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk

from napari_lungseg.errors import InputError
from napari_lungseg.formats import is_dicom_path, read
from napari_lungseg.volume import Affine, Volume

COLUMNS = (
    "data set",
    "kind",
    "images",
    "million voxels",
    "ours (s)",
    "SimpleITK (s)",
    "nibabel or pydicom (s)",
    "largest difference",
    "corners apart (mm)",
)
ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".tif", ".tiff", ".dcm", ".ima")


class Row(NamedTuple):
    """One image read by all."""

    kind: str
    voxels: int
    seconds: dict[str, float]
    number: float
    corner_mm: float


def affine_of(image: Any) -> Affine:
    """Affine of a SimpleITK image, from array index (z, y, x, 1) to LPS mm."""
    axes = image.GetDimension()
    linear = np.array(image.GetDirection()).reshape(axes, axes) * np.array(image.GetSpacing())
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    affine[:axes, 3 - axes : 3] = linear[:, ::-1]
    affine[:axes, 3] = image.GetOrigin()
    return affine


def by_simpleitk(path: Path) -> Volume:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else str(path)
    image = sitk.ReadImage(names)
    return Volume(sitk.GetArrayFromImage(image), affine_of(image))


def by_nibabel(path: Path) -> Volume:
    image = nibabel.load(path)
    array = np.asarray(image.dataobj).T
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    return Volume(array.reshape(array.shape[-3:]), affine[:, [2, 1, 0, 3]])


def by_pydicom(path: Path) -> Volume:
    slices = [pydicom.dcmread(one) for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    rows, columns = np.reshape(slices[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(rows, columns)
    slices.sort(key=lambda one: float(np.dot(one.ImagePositionPatient, normal)))
    array = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices])
    first, last = (np.array(one.ImagePositionPatient, dtype=float) for one in (slices[0], slices[-1]))
    step = (last - first) / (len(slices) - 1) if len(slices) > 1 else normal * float(slices[0].get("SpacingBetweenSlices") or 1)
    affine = np.eye(4)
    affine[:3] = np.stack([step, columns * slices[0].PixelSpacing[0], rows * slices[0].PixelSpacing[1], first], axis=1)
    return Volume(array, affine)


def images(folder: Path) -> Iterator[Path]:
    """Files below a folder, and folders in which the DICOM files are one series."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            series = {str(pydicom.dcmread(one, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID) for one in path.glob("*.dcm")}
            if len(series) == 1:
                yield path
            else:
                yield from images(path)
        elif path.name.lower().endswith(ENDINGS):
            yield path


def measure(path: Path) -> Row:
    """Read an image with all libraries that know its kind."""
    readers: dict[str, Callable[[Path], Volume]] = {"ours": read, "SimpleITK": by_simpleitk}
    kind = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    if is_dicom_path(path):
        readers["pydicom"], kind = by_pydicom, "DICOM series" if path.is_dir() else "DICOM"
    elif kind.startswith(".nii"):
        readers["nibabel"] = by_nibabel
    for one in path.iterdir() if path.is_dir() else [path]:
        one.read_bytes()
    seconds, volumes = {}, {}
    for name, reader in readers.items():
        began = time.perf_counter()
        volumes[name] = reader(path)
        seconds[name] = time.perf_counter() - began
    ours = volumes.pop("ours")
    number = corner = 0.0
    for other in volumes.values():
        array = np.asarray(other.array, dtype=float).reshape(ours.shape)
        number = max(number, float(np.abs(array - ours.array).max()))
        if ours.spacing_known:
            places = np.array([(*place, 1.0) for place in product(*((0, size - 1) for size in (1,) * (3 - ours.ndim) + ours.shape))])
            corner = max(corner, float(np.linalg.norm((places @ (ours.affine - other.affine).T)[:, :3], axis=1).max()))
    return Row(kind, ours.array.size, seconds, number, corner if ours.spacing_known else float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for data_set in sorted(path for path in folder.iterdir() if path.is_dir()):
        rows: dict[str, list[Row]] = {}
        for path in images(data_set):
            try:
                row = measure(path)
            except InputError as error:
                print(f"| {data_set.name} | not read: {error} |")
                continue
            rows.setdefault(row.kind, []).append(row)
        for kind, members in rows.items():
            cells = [data_set.name, kind, str(len(members)), f"{sum(row.voxels for row in members) / 1e6:.1f}"]
            for names in (("ours",), ("SimpleITK",), ("nibabel", "pydicom")):
                seconds = [row.seconds[name] for row in members for name in names if name in row.seconds]
                cells.append(f"{sum(seconds):.2f}" if seconds else "")
            corner = max(row.corner_mm for row in members)
            cells += [f"{max(row.number for row in members):.3g}", "" if np.isnan(corner) else f"{corner:.2g}"]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
