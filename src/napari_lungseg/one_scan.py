"""One scan of many: read, segmented, measured and written, unless that was done before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_lungseg.batch_paths import LABELS_SUFFIX, BatchItem, stem_of
from napari_lungseg.classes import spelled_out
from napari_lungseg.done_cases import case_key, file_hash, read_done, write_done
from napari_lungseg.errors import InputError, memory_sentence
from napari_lungseg.files import make_folder
from napari_lungseg.formats import DICOM_SEG, check_target, read, write
from napari_lungseg.formats.dicom.finding import DIRECTORY, dicom_files
from napari_lungseg.labels import count_labels
from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import DEFAULT_MODEL, load_model
from napari_lungseg.volume import Unit, Volume

if TYPE_CHECKING:
    from napari_lungseg.cases import CaseMeasures, Entry
    from napari_lungseg.model import Model
    from napari_lungseg.segmentation import Segmentation

#: Letters of the names of labels that a message tells.
_MOST_TOLD = 80


@dataclass(frozen=True)
class CohortSettings:
    """How to segment each scan.

    Attributes
    ----------
    model : str
        Name or folder.
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
    mask : MaskSettings
        From probability to labels.
    jobs : int
        Scans at a time, each in a process of its own.
    series : str or None
        Which image of a scan, where there are several; as for :func:`napari_lungseg.read`.
    fill_gaps : bool
        Interpolate where DICOM slices are missing or unevenly spaced.
    unit : {"HU", "arbitrary"} or None
        What the numbers mean; None to tell it from the file and the numbers.
    summary : bool
        Measure and draw each case for :func:`write_summary`.
    again : bool
        Do also what an earlier run has done already.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    mask: MaskSettings = field(default_factory=MaskSettings)
    jobs: int = 1
    series: str | None = None
    fill_gaps: bool = False
    unit: Unit | None = None
    summary: bool = False
    again: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InputError(f"The number of jobs must be at least 1, not {self.jobs}.")


@dataclass(frozen=True)
class Outcome:
    """What became of one scan.

    Attributes
    ----------
    source : Path
        The scan.
    record : dict
        For a report: output, model, device, runtime, seconds, voxels, volumes, notices. Empty after a failure.
    error : str
        Why it failed, in one sentence; else empty.
    entry : Entry or None
        The case for :func:`write_summary`, where that is wanted; None after a failure.
    done_before : bool
        Whether an earlier run did it.
    """

    source: Path
    record: dict[str, Any]
    error: str = ""
    entry: Entry | None = None
    done_before: bool = False


def outcome_of(task: BatchItem, work: Callable[[], Outcome], *, alone: bool) -> Outcome:
    """Do a scan; what goes wrong becomes its outcome, but where it is ``alone`` and the traceback tells more."""
    try:
        return work()
    except InputError as error:
        message = str(error)
    except MemoryError as error:
        message = memory_sentence(error)
    except BrokenProcessPool:
        message = "Its process was ended from outside, as the system does where memory is short; close other programs, or run fewer jobs."
    except Exception as error:
        if alone:
            raise
        message = f"{type(error).__name__}: {error}; segment this scan alone to see more."
    named = message if str(task.source) in message else f"{task.source}: {message}"
    return Outcome(task.source, {}, " ".join(named.split()))


def segment_file(
    task: BatchItem,
    settings: CohortSettings,
    progress: Callable[[BatchItem, int, int], None] | None = None,
    turn: AbstractContextManager[object] | None = None,
) -> Outcome:
    """Segment one scan and write its results, unless that is done already (InputError where that is not possible).

    Where several threads do this at a time, ``turn`` lets one of them compute.
    """
    from napari_lungseg.segmentation import segment

    volume, model = _read(task, settings), model_of(settings.model)
    key = "" if task.record is None else case_key(volume, model.card, settings.mask, _also_from(task))
    if (done := _done(task, settings, key)) is not None:
        return done
    for target in filter(None, (task.labels, task.probability)):
        check_target(target, volume.shape, task.source)
    with turn or nullcontext():
        result = segment(
            volume,
            model,
            settings.device,
            mask=settings.mask,
            progress=None if progress is None else lambda done, total: progress(task, done, total),
        )
    return _write(task, settings, volume, result, key)


def _read(task: BatchItem, settings: CohortSettings) -> Volume:
    volume = read(task.source, series=task.series or settings.series, fill_gaps=settings.fill_gaps)
    if volume.names:
        raise InputError(f"{task.source} holds labels ({', '.join(volume.names.values())[:_MOST_TOLD]}), not an image; give the image.")
    unit = task.unit or settings.unit
    return volume if unit is None else replace(volume, unit=unit, why_unit="The person said so.")


def _done(task: BatchItem, settings: CohortSettings, key: str) -> Outcome | None:
    """What an earlier run did of a scan; None where it has to be done."""
    if task.record is None or settings.again:
        return None
    found = read_done(task.record, key, task.labels, probability=task.probability is not None)
    if found is None:
        return None
    record, measures, picture = found
    entry = None
    if settings.summary:
        if measures is None:
            return None
        entry = _entry(task, record["output"], measures, picture)
    return Outcome(task.source, {**record, "input": str(task.source)}, entry=entry, done_before=True)


def _write(task: BatchItem, settings: CohortSettings, volume: Volume, result: Segmentation, key: str) -> Outcome:
    make_folder(task.labels.parent)
    probability = None if task.probability is None else write(result.probability, task.probability)
    try:
        series = task.series or settings.series
        labels = write(result.labels, task.labels, spelled_out(result.names), source=task.source, series=series)
    except BaseException:
        if probability is not None:
            _remove(probability)
        raise
    counts = count_labels(result.labels.array, 256)
    voxels = {name: int(counts[label]) for label, name in result.names.items()}
    record = {
        "input": str(task.source),
        "output": str(labels),
        "probability": str(probability) if probability else None,
        "model": result.model,
        "weights_sha256": result.weights_sha256,
        "device": result.device,
        "runtime": result.runtime,
        "seconds": round(result.seconds, 3),
        "unit": volume.unit,
        "why_unit": volume.why_unit,
        "voxels": voxels,
        "volume_ml": {name: round(count * volume.voxel_ml, 3) for name, count in voxels.items()} if volume.spacing_known else None,
        "notices": [*volume.notes, *result.notices],
    }
    entry = None
    if settings.summary:
        from napari_lungseg.cases import coronal_picture, measure_case, unlike_training

        measures = measure_case(result.labels, result.probability, unlike=unlike_training(volume, model_of(settings.model).card))
        entry = _entry(task, str(labels), measures, coronal_picture(volume, result.labels))
    if task.record is not None:
        written = {"output": labels} | ({} if probability is None else {"probability": probability})
        write_done(task.record, key, written, record, entry)
    return Outcome(task.source, record, entry=entry)


def _entry(task: BatchItem, labels: str, measures: CaseMeasures, picture: bytes) -> Entry:
    from napari_lungseg.cases import Entry

    return Entry(stem_of(task.labels).removesuffix(LABELS_SUFFIX), str(task.source), labels, measures, picture)


def _also_from(task: BatchItem) -> str:
    """What a DICOM-SEG takes from the files of its series beside their voxels; empty for other results."""
    if not task.labels.name.lower().endswith(DICOM_SEG):
        return ""
    folder = task.source.parent if task.source.name.upper() == DIRECTORY else task.source
    files = dicom_files(folder) if folder.is_dir() else [task.source]
    return " ".join([task.series or "", *(file_hash(file) for file in files if file != task.labels)])


def _remove(written: Path) -> None:
    """Remove a result that was just written; a failure must not hide why."""
    if written.is_dir():
        shutil.rmtree(written, ignore_errors=True)
    else:
        with suppress(OSError):
            written.unlink(missing_ok=True)


@cache
def model_of(name: str) -> Model:
    """A model by name or folder, read once in a process."""
    return load_model(name)
