"""Segment scans on the workers of a Dask cluster (extra ``cluster``).

Workers read the scans and write the results themselves, on disks that they share; no image goes through the scheduler. The model
goes from worker to worker, and is what its card's SHA-256 says.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from napari_lungseg import __version__
from napari_lungseg.batch_paths import BatchItem
from napari_lungseg.cohort import CohortSettings, Outcome, outcome_of, segment_file
from napari_lungseg.errors import InputError
from napari_lungseg.files import whole_folder
from napari_lungseg.library import find_model

if TYPE_CHECKING:
    from distributed import Client, Future

#: Seconds until a scheduler must have answered.
ANSWER_S = 15.0
#: How often a scan is given to the cluster when what it needs was lost with a worker.
MOST_TRIES = 4
#: One scan at a time in each worker, however many threads it has: what it takes is memory, and each scan uses all cores.
_at_work = threading.Lock()


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """A model as it travels.

    Attributes
    ----------
    name : str
        Of its folder.
    weights_sha256 : str
        Of the weights.
    content : mapping of str to bytes
        Its files.
    """

    name: str
    weights_sha256: str
    content: Mapping[str, bytes]

    @classmethod
    def read(cls, model: str) -> ModelFiles:
        """Read a model of this computer (InputError where there is none)."""
        from napari_lungseg.model import load_model

        folder = find_model(model)
        sha256 = load_model(folder).card.weights_sha256
        return cls(folder.name, sha256, {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()})

    def put(self, place: Path) -> Path:
        """Write it into a folder of its own in ``place``, unless it is there; gives that folder."""
        folder = place / self.weights_sha256 / self.name
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with whole_folder(folder) as temporary:
                for name, content in self.content.items():
                    (temporary / name).write_bytes(content)
        return folder


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
    with _connected(scheduler) as client:
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


def _connected(scheduler: str) -> Client:
    if find_spec("distributed") is None:
        raise InputError(
            "A cluster is reached by Dask's distributed, which is not installed; install it with: pip install 'napari-lungseg[cluster]'"
        )
    from distributed import Client

    try:
        client = Client(scheduler, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"There is no Dask scheduler at {scheduler} ({error}); check the address.") from error
    try:
        client.wait_for_workers(1, timeout=ANSWER_S)
    except TimeoutError as error:
        client.close()
        raise InputError(f"The scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}") from error
    return client


def _segment(task: BatchItem, settings: CohortSettings, model: ModelFiles, version: str) -> Outcome:
    """Run in a worker."""
    from distributed import get_worker

    if version != __version__:
        raise InputError(f"A worker has version {__version__} of napari-lungseg instead of {version}; install the same everywhere.")
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
