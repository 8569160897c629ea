"""Cores of a cluster's workers: Dask's nanny gives each library one thread, unless a person says otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dask_cluster import Cluster

from napari_lungseg import __version__
from napari_lungseg.cores import allowed_threads, available_cores
from napari_lungseg.remote.connection import connect, prepare_worker

if TYPE_CHECKING:
    from distributed import Client


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    started = Cluster(tmp_path)
    yield started
    started.close()


def threads_of(client: Client, worker: str) -> tuple[str, int]:
    """What Dask has set on a worker, and how many threads a network gets there."""

    def asked(function: Callable[..., Any], *arguments: str) -> Any:
        return client.submit(function, *arguments, workers=[worker], pure=False).result()

    set_by_dask = asked(os.getenv, "OMP_NUM_THREADS")
    asked(prepare_worker, __version__)
    return set_by_dask, asked(allowed_threads)


@pytest.mark.parametrize(
    ("said", "set_by_dask", "cores"), [(None, "1", available_cores()), ("3", "3", 3), ("1", "1", 1)], ids=["nothing", "3", "1"]
)
def test_a_worker_uses_all_cores_but_where_a_person_says_how_many(cluster, said, set_by_dask, cores):
    cluster.add_worker("one", "--nanny", threads=said)
    with connect(cluster.address) as client:
        assert [threads_of(client, worker) for worker in client.scheduler_info()["workers"]] == [(set_by_dask, cores)]


def test_workers_of_one_program_share_the_cores(cluster):
    cluster.add_worker("two", "--nanny", "--nworkers", "2", threads=None)
    with connect(cluster.address) as client:
        client.wait_for_workers(2)
        share = max(1, available_cores() // 2)
        assert [threads_of(client, worker) for worker in client.scheduler_info()["workers"]] == [("1", share), ("1", share)]
