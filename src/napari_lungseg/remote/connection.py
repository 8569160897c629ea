"""Reach the scheduler of a Dask cluster (extra ``cluster``)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_lungseg import __version__
from napari_lungseg.errors import InputError
from napari_lungseg.remote.worker_cores import use_cores
from napari_lungseg.translation import say

if TYPE_CHECKING:
    from distributed import Client

#: Seconds until a scheduler must have answered.
ANSWER_S = 15.0


def connect(scheduler: str) -> Client:
    """Connect to a scheduler that has workers; calls of actors go to their workers directly (InputError where it cannot be reached)."""
    if find_spec("distributed") is None:
        raise InputError(
            say(
                "A cluster is reached by Dask's distributed, which is not installed; install it with: pip install 'napari-lungseg[cluster]'"
            )
        )
    from distributed import Client

    try:
        client = Client(scheduler, timeout=ANSWER_S, set_as_default=False, direct_to_workers=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            say("There is no Dask scheduler at {scheduler} ({error}); check the address.", scheduler=scheduler, error=error)
        ) from error
    try:
        client.wait_for_workers(1, timeout=ANSWER_S)
    except TimeoutError as error:
        client.close()
        raise InputError(
            say("The scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}", scheduler=scheduler)
        ) from error
    return client


def make_actor(module: str, name: str, version: str) -> Any:
    """Make, in a worker, the actor of a class; its module, which may load torch, is imported there only, not in the scheduler."""
    prepare_worker(version)
    return getattr(import_module(module), name)()


def prepare_worker(version: str) -> None:
    """Make a worker ready for those who ask, before it loads what computes (InputError where they have another version)."""
    check_version(version)
    use_cores()


def check_version(version: str) -> None:
    """Check, in a worker, that those who ask have the same version (InputError where not)."""
    if version != __version__:
        raise InputError(
            say(
                "A worker has version {theirs} of napari-lungseg instead of {ours}; install the same everywhere.",
                theirs=__version__,
                ours=version,
            )
        )
