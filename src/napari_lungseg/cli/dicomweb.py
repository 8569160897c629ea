"""``napari-lungseg dicomweb``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_lungseg.architecture import DEFAULT_MODEL
from napari_lungseg.cli.terminal import SOME_FAILED, UNUSABLE, Device, complain, say

if TYPE_CHECKING:
    from napari_lungseg.archive.client import ArchiveSeries
    from napari_lungseg.archive.segmenting import ArchiveSettings, Stored

dicomweb = typer.Typer(
    help="Find and segment series of a DICOM archive, store the masks there.", rich_markup_mode=None, no_args_is_help=True
)

Url = Annotated[str, typer.Argument(metavar="URL", help="Where the archive's DICOMweb begins: https://.../dicom-web.")]
Patient = Annotated[str, typer.Option(help="PatientID; * stands for anything.")]
Date = Annotated[str, typer.Option(help="Date of the study, or a range: 20260101-20261231.")]
Modality = Annotated[str, typer.Option(help="Kind of series.")]
ModelName = Annotated[str, typer.Option("--model", help="Name or folder of a model.")]
Threshold = Annotated[float, typer.Option(help="Probability, 0 to 1, from which on a voxel is lung.")]
WithPatient = Annotated[
    bool, typer.Option("--with-patient", help="Copy patient and study into the segmentation, so that the archive files it with its series.")
]


@dicomweb.command()
def find(
    url: Url,
    patient: Patient = "",
    date: Date = "",
    modality: Modality = "CT",
    study: Annotated[str, typer.Option(help="StudyInstanceUID.")] = "",
) -> int:
    """List series: number of images, modality, date, patient, SeriesInstanceUID and description."""
    from napari_lungseg.archive.client import Archive

    found = list(Archive(url).find(Modality=modality, PatientID=patient, StudyDate=date, StudyInstanceUID=study))
    for one in sorted(found, key=lambda one: (one.date, one.patient, one.uid)):
        say(f"{one.images or '?':>5}  {one.modality}  {one.date or '-':8}  {one.patient or '-'}  {one.uid}  {one.description}".rstrip())
    if not found:
        say("No such series.", err=True)
    return 0


@dicomweb.command()
def segment(
    url: Url,
    series: Annotated[list[str], typer.Argument(metavar="SERIES...", help="SeriesInstanceUIDs, as `find` lists them.")],
    model: ModelName = DEFAULT_MODEL,
    device: Device = "auto",
    threshold: Threshold = 0.5,
    with_patient: WithPatient = False,
) -> int:
    """Segment series of an archive, and store each mask in its study as DICOM-SEG."""
    from napari_lungseg.archive.client import Archive
    from napari_lungseg.archive.segmenting import segment_series
    from napari_lungseg.errors import InputError

    archive, settings = Archive(url), _settings(model, device, threshold, with_patient=with_patient)
    failed = 0
    for uid in series:
        try:
            one = archive.series(uid)
            _report(one, segment_series(archive, one, settings))
        except InputError as error:
            failed += 1
            complain(str(error))
    return 0 if not failed else UNUSABLE if failed == len(series) else SOME_FAILED


@dicomweb.command()
def watch(
    url: Url,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it is kept what could not be segmented.")],
    patient: Patient = "",
    date: Date = "",
    modality: Modality = "CT",
    every: Annotated[float, typer.Option(help="Seconds between two looks at the archive.")] = 30.0,
    fewest: Annotated[int, typer.Option(help="Series of fewer images are left alone.")] = 10,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to be done.")] = False,
    model: ModelName = DEFAULT_MODEL,
    device: Device = "auto",
    threshold: Threshold = 0.5,
    with_patient: WithPatient = False,
) -> int:
    """Segment each new series of an archive, once, until Ctrl+C; also after a restart."""
    from napari_lungseg.archive import watching
    from napari_lungseg.archive.client import Archive

    settings = _settings(model, device, threshold, with_patient=with_patient)
    wanted = {"Modality": modality, "PatientID": patient, "StudyDate": date}
    status = 0
    for one in watching.watch(Archive(url), settings, folder, wanted, every_s=every, fewest=fewest, once=once):
        if one.stored is not None and one.series is not None:
            _report(one.series, one.stored)
        else:
            status = SOME_FAILED
            complain(f"{one.series.uid}: {one.error}" if one.series is not None else one.error)
    return status


def _settings(model: str, device: str, threshold: float, *, with_patient: bool) -> ArchiveSettings:
    """Settings that can be used (InputError where they cannot)."""
    from napari_lungseg.archive.segmenting import ArchiveSettings
    from napari_lungseg.mask import MaskSettings
    from napari_lungseg.model import load_model
    from napari_lungseg.runtimes import find_device

    load_model(model)
    return ArchiveSettings(model, find_device(device), MaskSettings(threshold=threshold), with_patient)


def _report(series: ArchiveSeries, stored: Stored) -> None:
    for notice in stored.notices:
        say(f"{series.uid}: {notice}", err=True)
    volumes = ", ".join(f"{name} {volume:.0f} mL" for name, volume in stored.volume_ml.items())
    say(f"{series.uid}: {volumes}; stored as series {stored.series_uid}")
