"""Small sound files of every format, and what an independent reader makes of them and of their mutants."""

from __future__ import annotations

import io
import re
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import nrrd
import numpy as np
import pydicom
import SimpleITK as sitk
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

import napari_lungseg as lungseg
from napari_lungseg.model import save_model
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Workspace

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dicom_files import packed, write_multi_frame

#: How often each slice of the journal is saved.
REVISIONS = 3

Reference = Callable[[Path], np.ndarray[Any, Any]]


def small_ct() -> tuple[Volume, Volume]:
    """A part of the bundled sample and its lungs, (12, 20, 24)."""
    ct, lungs = sample_ct(), sample_lungs()
    part = np.s_[8:20, 100:120, 60:84]
    image = Volume(np.ascontiguousarray(ct.array[part]), ct.affine, "HU")
    return image, Volume(np.ascontiguousarray(lungs.array[part]), ct.affine)


def make_seeds(folder: Path) -> dict[str, list[Path]]:
    """Write sound files of every format.

    Returns
    -------
    dict
        Format to its files; a DICOM series, a model and a journal are folders.
    """
    image, labels = small_ct()
    seeds: dict[str, list[Path]] = {}

    def add(kind: str, name: str, make: Callable[[Path], Any]) -> None:
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        seeds.setdefault(kind, []).append(path)

    for ending in ("nii", "nii.gz"):
        add("nifti", f"ct.{ending}", lambda path: lungseg.write(image, path))
    add("nifti", "float.nii.gz", lambda path: lungseg.write(image.with_array(image.array.astype(np.float32)), path))
    for encoding in ("raw", "gzip"):
        add("nrrd", f"{encoding}.nrrd", lambda path, e=encoding: nrrd.write(str(path), image.array.T, _nrrd_header(image, e)))
    add("nrrd", "ct.nrrd", lambda path: lungseg.write(image, path))
    add("seg.nrrd", "lungs.seg.nrrd", lambda path: lungseg.write(labels, path))
    add("mha", "ct.mha", lambda path: lungseg.write(image, path))
    add("mha", "raw.mha", lambda path: path.write_bytes(_raw_mha(image)))
    for name, options in {"plain": {}, "zlib": {"compression": "zlib"}, "imagej": {"imagej": True}}.items():
        add("tiff", f"{name}.tif", lambda path, o=options: tifffile.imwrite(path, image.array, **o))
    grey = ((np.clip(image.array[4], -1000, 400) + 1000) / 1400 * 255).astype(np.uint8)
    add("png", "grey.png", lambda path: Image.fromarray(grey).save(path))
    add("png", "16 bit.png", lambda path: Image.fromarray((image.array[4] + 1024).astype(np.uint16)).save(path))
    add("jpeg", "grey.jpg", lambda path: Image.fromarray(grey).save(path, quality=95))
    for name, syntax in {"explicit": ExplicitVRLittleEndian, "deflated": DeflatedExplicitVRLittleEndian, "rle": RLELossless}.items():
        add("dicom", name, lambda path, s=syntax: _series(path, image, s))
    for name, syntax, encode in (
        ("JPEG-LS", JPEGLSLossless, lambda plane: imagecodecs.jpegls_encode(plane.view(np.uint16))),
        ("JPEG 2000", JPEG2000Lossless, lambda plane: imagecodecs.jpeg2k_encode(plane, level=0, reversible=True, codecformat="j2k")),
    ):
        add("packed dicom", name, lambda path, s=syntax, e=encode: _packed_series(path, image, s, e))
    frames = [{"hu": plane, "position": (0, 0, 8 * number)} for number, plane in enumerate(image.array[:6])]
    add("multi-frame", "enhanced.dcm", lambda path: write_multi_frame(path, frames))
    add("pair", "nifti", lambda path: _pair(path, image))
    add("dicom-seg", "lungs.dcm", lambda path: _segmentation(path, image, labels, folder))
    add("model", "lung", lambda path: save_model(_small_model(), path))
    add("journal", "workspace", lambda path: _journal(path, image, labels))
    return seeds


def _nrrd_header(image: Volume, encoding: str) -> dict[str, Any]:
    linear = image.affine[:3, :3][:, ::-1].T
    return {"space": "left-posterior-superior", "space directions": linear, "space origin": image.affine[:3, 3], "encoding": encoding}


def _raw_mha(image: Volume) -> bytes:
    size = " ".join(map(str, image.shape[::-1]))
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nElementSpacing = 1.4 1.4 8\nDimSize = {size}\n"
    )
    return (head + "ElementType = MET_SHORT\nElementDataFile = LOCAL\n").encode() + image.array.astype("<i2").tobytes()


def _series(folder: Path, image: Volume, syntax: str) -> None:
    folder.mkdir()
    series, study, frame = (generate_uid() for _ in range(3))
    for number, plane in enumerate(image.array[:6]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID, file.Modality = CTImageStorage, meta.MediaStorageSOPInstanceUID, "CT"
        file.SeriesInstanceUID, file.StudyInstanceUID, file.FrameOfReferenceUID, file.InstanceNumber = series, study, frame, number + 1
        file.Rows, file.Columns, file.PixelSpacing, file.SliceThickness = *plane.shape, [1.4, 1.4], 8
        file.ImageOrientationPatient, file.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 8.0 * number]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.RescaleSlope, file.RescaleIntercept = 1, 0
        file.PixelData = plane.astype("<i2").tobytes()
        if syntax == RLELossless:
            file.compress(RLELossless)
        else:
            file.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(folder / f"{number}.dcm", file, enforce_file_format=True)


def _packed_series(folder: Path, image: Volume, syntax: str, encode: Callable[[np.ndarray[Any, Any]], bytes]) -> None:
    _series(folder, image, ExplicitVRLittleEndian)
    for path in folder.iterdir():
        packed(path, path, syntax, encode)


def _pair(folder: Path, image: Volume) -> None:
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Pair(image.array.T, np.diag([-1.4, -1.4, 8, 1])), folder / "ct.img")


def _segmentation(path: Path, image: Volume, labels: Volume, folder: Path) -> None:
    source = folder / "source of the segmentation"
    if not source.exists():
        _series(source, image, ExplicitVRLittleEndian)
    ct = lungseg.read(source)
    lungseg.write(ct.with_array(labels.array[:6]), path, source=source)


def _small_model() -> Any:
    import torch

    from napari_lungseg.card import Card
    from napari_lungseg.model import Model
    from napari_lungseg.preprocess import Preprocessing
    from napari_lungseg.unet import UNet, UNetConfig

    torch.manual_seed(0)
    config = UNetConfig(base_width=4, depth=2, norm="group")
    return Model(UNet(config).eval(), Card("lung", "For the benchmark.", config, Preprocessing()))


def _journal(folder: Path, image: Volume, labels: Volume) -> None:
    workspace = Workspace(folder, user="fuzz")
    case = workspace.add_case("0" * 64, name="ct", path=None, shape=image.shape, affine=image.affine, axis=0, unit="HU")
    person = np.full(image.shape[1:], 128, np.uint8)
    for revision in range(REVISIONS):
        planes = {index: (np.roll(plane, revision), person) for index, plane in enumerate(labels.array)}
        workspace.save(case, planes, cause="paint")
    workspace.close()


def reference(kind: str) -> Reference | None:
    """A reader that shares no code with this package, giving voxels as (Z, Y, X) or (Y, X); None where there is none."""
    return {
        "nifti": lambda path: np.asanyarray(nibabel.load(path).dataobj).T,
        "nrrd": lambda path: nrrd.read(str(path))[0].T,
        "seg.nrrd": lambda path: nrrd.read(str(path))[0].T,
        "mha": _read_mha,
        "png": lambda path: _read_picture(path),
        "dicom": _read_series,
        "packed dicom": _read_by_itk,
        "multi-frame": _read_multi_frame,
        "pair": lambda path: np.asanyarray(nibabel.load(path / "ct.hdr").dataobj).T,
        "tiff": lambda path: tifffile.imread(path),
    }.get(kind)


def _read_picture(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        picture.load()
        return np.asarray(picture)


def _read_mha(path: Path) -> np.ndarray[Any, Any]:
    head, _, data = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    fields = dict(re.findall(r"^(\w+) = (.*)$", head.decode("ascii"), re.MULTILINE))
    if fields.get("CompressedData") == "True":
        data = zlib.decompress(data)
    order = ">" if fields.get("BinaryDataByteOrderMSB") == "True" else "<"
    dtype = np.dtype({"MET_SHORT": "i2", "MET_USHORT": "u2", "MET_CHAR": "i1", "MET_UCHAR": "u1"}[fields["ElementType"]]).newbyteorder(
        order
    )
    shape = [int(n) for n in fields["DimSize"].split()][::-1]
    return np.frombuffer(data, dtype, int(np.prod(shape))).reshape(shape)


def _read_series(folder: Path) -> np.ndarray[Any, Any]:
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    return np.stack([file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept) for file in files])


def _read_by_itk(folder: Path) -> np.ndarray[Any, Any]:
    sitk.ProcessObject.GlobalWarningDisplayOff()
    # By pydicom's position: ITK takes one with a decimal comma for the origin.
    places = {path: float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in folder.iterdir()}
    return np.concatenate([sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in sorted(places, key=places.__getitem__)])


def _read_multi_frame(path: Path) -> np.ndarray[Any, Any]:
    file = pydicom.dcmread(path)
    groups = list(file.PerFrameFunctionalGroupsSequence)
    order = np.argsort([float(group.PlanePositionSequence[0].ImagePositionPatient[2]) for group in groups])
    rescale = [group.PixelValueTransformationSequence[0] for group in groups]
    planes = [plane * float(one.RescaleSlope) + float(one.RescaleIntercept) for plane, one in zip(file.pixel_array, rescale, strict=True)]
    return np.stack([planes[number] for number in order])


def copy(seed: Path, target: Path) -> Path:
    """A copy of a seed, a file or a folder, under its own name in a new folder."""
    target.mkdir(parents=True)
    if seed.is_dir():
        shutil.copytree(seed, target / seed.name)
    else:
        shutil.copyfile(seed, target / seed.name)
    return target / seed.name
