"""The window segments on a cluster: a real scheduler and worker on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dask_cluster import Cluster
from phantom import chest

from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.preferences import preferences

pytest.importorskip("distributed")

CT = chest()[0]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Cluster(folder)
    yield started
    started.close()
    preferences().cluster.address = ""


def test_a_cluster_is_a_device_and_its_loss_loses_nothing(cluster, open_desk, phantom_model, messages):
    worker = cluster.add_worker("one")
    desk = open_desk(CT)
    long = Volume(np.resize(CT.array, (800, *CT.shape[1:])), CT.affine, "HU")
    desk.add(long, "long")
    preferences().cluster.address = cluster.address
    assert desk.controls.device.value == "auto"
    desk.controls.device.value = cluster.address
    assert desk.controls.device.current_choice == f"cluster {cluster.address.partition('://')[2]}"
    assert cluster.address not in desk.dock.open("Train").controls.device.choices

    desk.press()
    desk.wait(lambda: "long probability" in desk.viewer.layers and desk.probability.data.any())
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=30_000) as end:
        cluster.kill(worker)
    assert "Nothing of yours is lost: press again" in end.args[0]
    assert any("Nothing of yours is lost: press again" in message for message in messages)
    assert desk.probability.data.any()
    assert desk.lungs.data.any()

    cluster.add_worker("two")
    assert desk.segment() == ""
    there = segment(long, phantom_model, device="cpu")
    assert np.array_equal(desk.probability.data, there.probability.array)
    assert np.array_equal(desk.lungs.data, there.labels.array)
