"""Many scans, one after the other or in several processes; one that fails does not stop the others."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_lungseg.batch_paths import LABELS_SUFFIX, BatchItem, stem_of
from napari_lungseg.classes import spelled_out
from napari_lungseg.cores import available_cores
from napari_lungseg.done_cases import at_work, case_key, file_hash, read_done, write_done
from napari_lungseg.errors import InputError, memory_sentence
from napari_lungseg.files import make_folder, write_whole
from napari_lungseg.formats import DICOM_SEG, check_target, read, write
from napari_lungseg.formats.dicom.finding import DIRECTORY, dicom_files
from napari_lungseg.labels import count_labels
from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import DEFAULT_MODEL, load_model
from napari_lungseg.runtimes import find_device
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


def segment_files(
    tasks: Sequence[BatchItem],
    settings: CohortSettings,
    progress: Callable[[BatchItem, int, int], None] | None = None,
    elsewhere: Callable[[Sequence[BatchItem], CohortSettings], Iterator[Outcome]] | None = None,
) -> Iterator[Outcome]:
    """Segment scans and write their results, yielding one outcome for each as it is done.

    A scan that fails is named in its outcome, and the others go on. With one job, ``progress`` is called with the task, the
    number of its slices done and of all its slices. A task with a record is not done again, if its image, model and settings are the same
    and its results are as they were written. ``elsewhere`` does the work in place of this computer.

    Raises
    ------
    InputError
        When the model or the device cannot be used; before anything is written.
    """
    _model(settings.model)
    if elsewhere is None:
        find_device(settings.device)
    with ExitStack() as runs:
        for folder in sorted({task.record.parent for task in tasks if task.record is not None}):
            runs.enter_context(at_work(folder))
        yield from _outcomes(tasks, settings, progress) if elsewhere is None else elsewhere(tasks, settings)


def _outcomes(
    tasks: Sequence[BatchItem], settings: CohortSettings, progress: Callable[[BatchItem, int, int], None] | None
) -> Iterator[Outcome]:
    if len(tasks) < 2:
        for task in tasks:
            yield outcome_of(task, partial(segment_file, task, settings, progress), alone=True)
    elif settings.jobs == 1:
        yield from _in_turn(tasks, settings, progress)
    else:
        yield from _in_processes(tasks, settings)


def _in_turn(
    tasks: Sequence[BatchItem], settings: CohortSettings, progress: Callable[[BatchItem, int, int], None] | None
) -> Iterator[Outcome]:
    """Segment one scan at a time, while another thread writes the one before it and reads the one after it.

    So at most two scans are in memory. One for which that is too much is done again at the end, with no other beside it.
    """
    lock, interrupted = threading.Lock(), threading.Event()

    def go_on() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    @contextmanager
    def turn() -> Iterator[None]:
        with lock:
            go_on()
            yield

    def tell(task: BatchItem, done: int, total: int) -> None:
        go_on()
        if progress is not None:
            progress(task, done, total)

    def work(task: BatchItem) -> Outcome:
        try:
            return segment_file(task, settings, tell, turn())
        except MemoryError:
            large.append(task)
            return Outcome(task.source, {})

    large: list[BatchItem] = []
    with ThreadPoolExecutor(2) as pool:
        # Outcomes, not exceptions, whose tracebacks would keep the images.
        futures = [pool.submit(outcome_of, task, partial(work, task), alone=False) for task in tasks]
        try:
            for task, future in zip(tasks, futures):
                outcome = future.result()
                if task not in large:
                    yield outcome
        finally:
            interrupted.set()
            pool.shutdown(cancel_futures=True)
    for task in large:
        yield outcome_of(task, partial(segment_file, task, settings, progress), alone=False)


def _in_processes(tasks: Sequence[BatchItem], settings: CohortSettings) -> Iterator[Outcome]:
    """Segment several scans at a time; a process that is killed costs the scan that it had in hand, and is replaced."""
    # A forked copy of a process with torch's threads may hang. Fresh processes share the cores.
    threads = str(max(1, available_cores() // settings.jobs))
    context = multiprocessing.get_context("spawn")

    def fresh() -> ProcessPoolExecutor:
        # A pool for each process, as a pool that loses one fails all that it holds.
        return ProcessPoolExecutor(1, context, _begin_process, (threads,))

    def begin(pool: ProcessPoolExecutor, task: BatchItem) -> None:
        try:
            future = pool.submit(segment_file, task, settings)
        except BrokenProcessPool:
            # Its process was killed while it had nothing to do.
            pool = fresh()
            future = pool.submit(segment_file, task, settings)
        working[future] = pool, task

    working: dict[Future[Outcome], tuple[ProcessPoolExecutor, BatchItem]] = {}
    waiting = iter(tasks)
    try:
        for task in islice(waiting, settings.jobs):
            begin(fresh(), task)
        while working:
            for future in wait(working, return_when=FIRST_COMPLETED).done:
                pool, task = working.pop(future)
                broken = isinstance(future.exception(), BrokenProcessPool)
                following = next(waiting, None)
                if broken or following is None:
                    pool.shutdown(wait=False)
                if following is not None:
                    begin(fresh() if broken else pool, following)
                yield outcome_of(task, future.result, alone=False)
    finally:
        for pool, _ in working.values():
            pool.shutdown(wait=False, cancel_futures=True)


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

    volume, model = _read(task, settings), _model(settings.model)
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

        measures = measure_case(result.labels, result.probability, unlike=unlike_training(volume, _model(settings.model).card))
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


def write_report(path: Path, version: str, outcomes: Sequence[Outcome]) -> None:
    """Write what became of each scan as JSON (InputError where that is not possible)."""
    runs = [outcome.record or {"input": str(outcome.source), "error": outcome.error} for outcome in outcomes]
    write_whole(path, json.dumps({"version": version, "runs": runs}, indent=2, ensure_ascii=False) + "\n")


def write_summary(folder: Path, outcomes: Sequence[Outcome], *, parquet: bool = False) -> tuple[Path, Path]:
    """Write a table and a contact sheet of all cases into a folder (InputError where that is not possible)."""
    from napari_lungseg.cases import Entry, write_cases

    failed = [Entry(stem_of(one.source), str(one.source), error=one.error) for one in outcomes if one.error]
    return write_cases(folder, [*failed, *(one.entry for one in outcomes if one.entry is not None)], parquet=parquet)


def _remove(written: Path) -> None:
    """Remove a result that was just written; a failure must not hide why."""
    if written.is_dir():
        shutil.rmtree(written, ignore_errors=True)
    else:
        with suppress(OSError):
            written.unlink(missing_ok=True)


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


def _begin_process(threads: str) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that gives it work was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _model(name: str) -> Model:
    return load_model(name)
