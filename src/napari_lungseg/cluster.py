"""Segment scans on the workers of a Dask cluster (extra ``cluster``).

Workers read the scans and write the results themselves, on disks that they share; no image goes through the scheduler. The model
goes from worker to worker, and is what its card's SHA-256 says.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_lungseg import __version__
from napari_lungseg.batch_paths import BatchItem
from napari_lungseg.one_scan import CohortSettings, Outcome, outcome_of, segment_file
from napari_lungseg.remote.connection import connect, prepare_worker
from napari_lungseg.remote.model_files import ModelFiles

if TYPE_CHECKING:
    from distributed import Future

#: How often a scan is given to the cluster when what it needs was lost with a worker.
MOST_TRIES = 4
#: One scan at a time in each worker, however many threads it has: what it takes is memory, and each scan uses all cores.
_at_work = threading.Lock()


def segment_on_cluster(scheduler: str, tasks: Sequence[BatchItem], settings: CohortSettings) -> Iterator[Outcome]:
    """Segment scans on a cluster, yielding one outcome for each as it is done.

    A scan whose worker is lost is done by another one; what that had written already is found, and not done again.

    Parameters
    ----------
    scheduler : str
        Address of the scheduler: ``tcp://host:8786``, or ``tls://`` with certificates as Dask's settings name them.
    tasks, settings
        As for :func:`~napari_lungseg.cohort.segment_files`; all files must lie where the workers see them under the same names.

    Raises
    ------
    InputError
        When there is no scheduler or no worker, or the model cannot be used.
    """
    from distributed import as_completed

    model = ModelFiles.read(settings.model)
    with connect(scheduler) as client:
        sent = client.scatter(model, broadcast=True)
        running: dict[Future, tuple[BatchItem, int]] = {}

        def begin(task: BatchItem, tries: int) -> Future:
            future = client.submit(_segment, _absolute(task), settings, sent, __version__, pure=False)
            running[future] = task, tries
            return future

        ended = as_completed([begin(task, 1) for task in tasks], loop=client.loop)
        for future in ended:
            task, tries = running.pop(future)
            lost = future.cancelled() or isinstance(future.exception(), CancelledError)
            if lost and tries < MOST_TRIES:
                # The only worker that had the model has gone.
                sent = client.scatter(model, broadcast=True)
                ended.add(begin(task, tries + 1))
                continue
            outcome = outcome_of(task, future.result, alone=False)
            yield replace(outcome, source=task.source)


def _segment(task: BatchItem, settings: CohortSettings, model: ModelFiles, version: str) -> Outcome:
    """Run in a worker."""
    from distributed import get_worker

    prepare_worker(version)
    with _at_work:
        folder = model.put(Path(get_worker().local_directory))
        return segment_file(task, replace(settings, model=str(folder)))


def _absolute(task: BatchItem) -> BatchItem:
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    return replace(
        task,
        source=task.source.absolute(),
        labels=task.labels.absolute(),
        probability=absolute(task.probability),
        record=absolute(task.record),
    )
