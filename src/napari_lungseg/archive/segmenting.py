"""Segment a series of an archive and store the segmentation beside it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import pydicom.uid

from napari_lungseg.archive.client import Archive, ArchiveSeries
from napari_lungseg.classes import spelled_out
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read
from napari_lungseg.formats.dicomseg import SegOrigin, write_dicom_seg
from napari_lungseg.labels import count_labels
from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import DEFAULT_MODEL, Model, load_model
from napari_lungseg.segmentation import segment


@dataclass(frozen=True)
class ArchiveSettings:
    """Set how series of an archive are segmented.

    Attributes
    ----------
    model, device : str
        As for :func:`~napari_lungseg.segmentation.segment`.
    mask : MaskSettings
        From probability to labels.
    with_patient : bool
        Describe patient and study in the segmentation as in the series. Archives such as Orthanc know a study by both numbers, and file
        a segmentation without a patient under another one.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    mask: MaskSettings = field(default_factory=MaskSettings)
    with_patient: bool = False


@dataclass(frozen=True)
class Stored:
    """What was stored.

    Attributes
    ----------
    series_uid : str
        Of the segmentation.
    volume_ml : dict of str to float
        Volume of each label, by name.
    notices : tuple of str
        What the person should know.
    """

    series_uid: str
    volume_ml: dict[str, float]
    notices: tuple[str, ...]


def segmentation_uids(series: ArchiveSeries, images: Sequence[str], settings: ArchiveSettings) -> tuple[str, str]:
    """Series and instance number of the segmentation of these images by these settings.

    The same work always has the same numbers: what is stored already can be asked for, and is never stored twice. They do not depend on
    the version of this package.
    """
    what = [
        series.uid,
        *images,
        _model(settings.model).card.weights_sha256,
        json.dumps(asdict(settings.mask), sort_keys=True),
        str(settings.with_patient),
    ]
    return pydicom.uid.generate_uid(entropy_srcs=["series", *what]), pydicom.uid.generate_uid(entropy_srcs=["instance", *what])


def segment_series(
    archive: Archive,
    series: ArchiveSeries,
    settings: ArchiveSettings,
    images: Sequence[str] | None = None,
) -> Stored:
    """Get a series, segment it, and store the segmentation in its study.

    Parameters
    ----------
    archive : Archive
        Where.
    series : ArchiveSeries
        What.
    settings : ArchiveSettings
        How.
    images : sequence of str, optional
        SOPInstanceUIDs of the series, sorted, where they are known.

    Returns
    -------
    Stored
        What was stored.

    Raises
    ------
    InputError
        When the archive, the model or the device cannot be used, or the series is no volume. Nothing is stored then.
    """
    images = archive.images(series) if images is None else images
    series_uid, instance_uid = segmentation_uids(series, images, settings)
    model = _model(settings.model)
    with tempfile.TemporaryDirectory(prefix="lungseg-") as scratch:
        folder = Path(scratch, "series")
        got = max(archive.fetch(series, folder), default=0)
        if got < len(images):
            raise InputError(f"Of the {len(images)} images of series {series.uid} only {got} came; try again.")
        volume = read(folder)
        result = segment(volume, model, settings.device, mask=settings.mask)
        path = Path(scratch, "segmentation.dcm")
        origin = SegOrigin(settings.with_patient, series_uid, instance_uid, model.card.name, model.card.weights_sha256, is_automatic=True)
        write_dicom_seg(result.labels, path, folder, names=spelled_out(result.names), origin=origin)
        archive.store(path)
    counts = count_labels(result.labels.array, 256)
    volumes = {name: float(counts[label]) * volume.voxel_ml for label, name in result.names.items()}
    return Stored(series_uid, volumes, (*volume.notes, *result.notices))


@cache
def _model(name: str) -> Model:
    return load_model(name)
