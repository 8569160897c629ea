"""The engine of a window predicts on a real Dask worker: the same as here, and nothing hangs or is lost where the worker is."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from dask_cluster import Cluster
from engine.calls import Listener, call
from phantom import chest, chest_model

from napari_lungseg.engine.messages import Cancelled, Failed, Kept, Returned, Yielded
from napari_lungseg.engine.process import Call, Engine
from napari_lungseg.errors import InputError
from napari_lungseg.model import save_model
from napari_lungseg.predict import PredictSettings
from napari_lungseg.predicted import ModelLoaded, Notice, PredictedSlice
from napari_lungseg.remote import errand
from napari_lungseg.remote.connection import check_version
from napari_lungseg.remote.model_files import ModelFiles
from napari_lungseg.remote.predicting import predict_remotely
from napari_lungseg.volume import Volume

distributed = pytest.importorskip("distributed")
Client, Event = distributed.Client, distributed.Event

CT = chest()[0]
#: More slices than a worker computes while a test looks away.
LONG = Volume(np.resize(CT.array, (3000, *CT.shape[1:])), CT.affine, "HU")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests; who harms its worker kills it, and the next takes another."""
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


class Noted:
    """An array that notes which slices are read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.ndim, self.dtype = array, array.shape, array.ndim, array.dtype
        self.read: set[int] = set()

    def __getitem__(self, key) -> np.ndarray:
        self.read.add(key if isinstance(key, int) else key[-1])
        return self._array[key]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(chest_model(), tmp_path_factory.mktemp("models") / "chest")


def slices(items: list) -> list[PredictedSlice]:
    return [item for item in items if isinstance(item, PredictedSlice)]


def begin(engine: Engine, model: Path, address: str) -> tuple[Call, Listener]:
    """A long prediction of which slices have come."""
    running, heard = call(engine, "predict", LONG, model, address, 0, 0, None, None)
    while not (isinstance(message := heard.next(), Yielded) and isinstance(message.item, PredictedSlice)):
        assert isinstance(message, Yielded), message
    return running, heard


def test_a_cluster_gives_what_this_computer_gives_in_the_same_order(cluster, engine, model):
    cluster.worker()
    lazy = replace(CT, array=Kept(CT.shape, CT.array.dtype.str))
    here = call(engine, "predict", CT, model, "cpu", None, 5, None, None)[1].end()[1]
    for volume, kept in ((CT, None), (lazy, CT.array)):
        end, there = call(engine, "predict", volume, model, cluster.address, None, 5, None, None, kept=kept)[1].end()
        assert isinstance(end, Returned), end
        assert isinstance(there[0], ModelLoaded)
        assert [one.index for one in slices(there)] == [one.index for one in slices(here)]
        for one, other in zip(slices(there), slices(here), strict=True):
            assert np.array_equal(one.probability, other.probability)
            assert (one.axis, one.done, one.total) == (other.axis, other.done, other.total)


@pytest.mark.parametrize("unit", ["HU", "arbitrary"])
@pytest.mark.parametrize("turned", ["", "upside down", "slices last"])
def test_for_one_slice_only_what_is_looked_at_is_sent(cluster, engine, model, unit, turned):
    cluster.worker()
    volume = Volume(LONG.array[:200].copy(), CT.affine, unit)
    if turned == "upside down":
        volume = replace(volume, affine=volume.affine @ np.diag([-1.0, 1.0, 1.0, 1.0]))
    elif turned == "slices last":
        volume = replace(volume, array=np.moveaxis(volume.array, 0, -1).copy(), affine=volume.affine[:, [1, 2, 0, 3]])
    noted = Noted(volume.array)
    lazy = replace(volume, array=Kept(volume.shape, volume.array.dtype.str))
    (here,) = slices(call(engine, "predict", volume, model, "cpu", None, 0, 77, 78)[1].end()[1])
    (there,) = slices(call(engine, "predict", lazy, model, cluster.address, None, 0, 77, 78, kept=noted)[1].end()[1])
    assert np.array_equal(there.probability, here.probability)
    assert there.probability.any()
    assert (there.axis, there.index) == (here.axis, 77)
    assert 77 in noted.read
    assert len(noted.read) <= 30


def test_a_worker_that_is_killed_is_told_and_another_takes_the_next_call(cluster, engine, model):
    worker = cluster.worker()
    _, heard = begin(engine, model, cluster.address)
    cluster.kill(worker)
    end, items = heard.end()
    assert isinstance(end, Failed)
    assert end.kind == "input"
    assert "Nothing of yours is lost: press again" in end.text
    assert len(slices(items)) < len(LONG.array) - 1
    cluster.worker()
    end, items = call(engine, "predict", CT, model, cluster.address, None, 0, None, None)[1].end()
    assert isinstance(end, Returned), end
    assert len(slices(items)) == len(CT.array)


def test_a_scheduler_that_is_killed_is_told(engine, model, tmp_path):
    with closing(Cluster(tmp_path)) as cluster:
        cluster.worker()
        _, heard = begin(engine, model, cluster.address)
        cluster.kill(cluster.scheduler)
        assert "Nothing of yours is lost: press again" in heard.end()[0].text


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
def test_a_worker_that_hangs_does_not_keep_a_call_from_being_cancelled(cluster, engine, model):
    worker = cluster.worker()
    running, heard = begin(engine, model, cluster.address)
    worker.send_signal(signal.SIGSTOP)
    process = engine.process
    # Asked only, so that no process is killed for it.
    running.drop()
    assert isinstance(heard.end()[0], Cancelled)
    assert engine.process == process
    cluster.kill(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
def test_a_worker_that_is_silent_for_too_long_is_told(cluster, model, monkeypatch):
    worker = cluster.worker()
    found = predict_remotely(cluster.address, LONG, ModelFiles.read(str(model)), PredictSettings(), lambda: None)
    assert next(found) is None
    worker.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(errand, "SILENCE_S", 0.5)
    with pytest.raises(InputError, match=r"stopped answering \(no answer for .*\). Nothing of yours is lost: press again"):
        list(found)
    cluster.kill(worker)


@pytest.mark.parametrize("end", ["cancelled", "killed"])
def test_a_call_that_is_cancelled_or_whose_engine_is_killed_ends_its_work_on_the_worker(cluster, model, end):
    cluster.worker()
    engine = Engine()
    running, heard = begin(engine, model, cluster.address)
    with Client(cluster.address, set_as_default=False) as client:

        def working() -> bool:
            (names,) = client.run(lambda: [thread.name for thread in threading.enumerate()]).values()
            return "errand" in names

        assert working()
        if end == "cancelled":
            running.drop()
        else:
            psutil.Process(engine.process).kill()
        assert isinstance(heard.end()[0], Cancelled if end == "cancelled" else Failed)
        cluster.wait(lambda: not working())
    engine.close()


def test_who_waits_for_a_busy_worker_is_told(cluster, engine, model):
    cluster.worker()
    with Client(cluster.address, set_as_default=False) as client, client.as_current():
        over = Event("over")
        # As many as the worker has threads.
        others = [client.submit(over.wait, pure=False) for _ in range(2)]
        _, heard = call(engine, "predict", CT, model, cluster.address, 0, 0, None, None)
        assert heard.next().item == Notice("All workers of the cluster are busy; this waits for one.")
        over.set()
        end, items = heard.end()
        assert all(client.gather(others))
    assert isinstance(end, Returned)
    assert len(slices(items)) == len(CT.array)


def test_a_wrong_address_is_one_sentence(engine, model):
    end, items = call(engine, "predict", CT, model, "nonsense://x", None, 0, None, None)[1].end()
    assert isinstance(end, Failed)
    assert end.kind == "input"
    assert "no Dask scheduler at nonsense://x" in end.text
    assert items == []  # no layer is made for it


def test_a_worker_with_another_version_refuses(cluster, model):
    cluster.worker()
    with Client(cluster.address, set_as_default=False) as client:
        asked = client.submit(check_version, "0.0.1")
        with pytest.raises(InputError, match=r"has version .* instead of 0.0.1; install the same everywhere"):
            asked.result()
