"""Many scans, one after the other or in several processes; one that fails does not stop the others."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from napari_lungseg.batch_paths import BatchItem, stem_of
from napari_lungseg.cores import available_cores
from napari_lungseg.done_cases import at_work
from napari_lungseg.files import write_whole
from napari_lungseg.one_scan import CohortSettings, Outcome, model_of, outcome_of, segment_file
from napari_lungseg.runtimes import find_device, load_runtime


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
    model_of(settings.model)
    if elsewhere is None:
        find_device(settings.device)
    with ExitStack() as runs:
        for folder in sorted({task.record.parent for task in tasks if task.record is not None}):
            runs.enter_context(at_work(folder))
        yield from _outcomes(tasks, settings, progress) if elsewhere is None else elsewhere(tasks, settings)


def _outcomes(
    tasks: Sequence[BatchItem], settings: CohortSettings, progress: Callable[[BatchItem, int, int], None] | None
) -> Iterator[Outcome]:
    if settings.jobs > 1 and len(tasks) > 1:
        yield from _in_processes(tasks, settings)
        return
    with ThreadPoolExecutor(1) as pool:
        # While the first scan is read. What fails here fails again where the runtime is used, and is told there.
        pool.submit(load_runtime, settings.device)
        if len(tasks) > 1:
            yield from _in_turn(tasks, settings, progress)
        elif tasks:
            yield outcome_of(tasks[0], partial(segment_file, tasks[0], settings, progress), alone=True)


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


def write_report(path: Path, version: str, outcomes: Sequence[Outcome]) -> None:
    """Write what became of each scan as JSON (InputError where that is not possible)."""
    runs = [outcome.record or {"input": str(outcome.source), "error": outcome.error} for outcome in outcomes]
    write_whole(path, json.dumps({"version": version, "runs": runs}, indent=2, ensure_ascii=False) + "\n")


def write_summary(folder: Path, outcomes: Sequence[Outcome], *, parquet: bool = False) -> tuple[Path, Path]:
    """Write a table and a contact sheet of all cases into a folder (InputError where that is not possible)."""
    from napari_lungseg.cases import Entry, write_cases

    failed = [Entry(stem_of(one.source), str(one.source), error=one.error) for one in outcomes if one.error]
    return write_cases(folder, [*failed, *(one.entry for one in outcomes if one.entry is not None)], parquet=parquet)


def _begin_process(threads: str) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that gives it work was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
