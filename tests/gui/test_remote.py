"""The window segments and trains on a cluster: a real scheduler and worker on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dask_cluster import Cluster
from phantom import chest
from qtpy.QtCore import Qt

from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.lookup import result_of
from napari_lungseg.widgets.preferences import preferences

pytest.importorskip("distributed")

CT, LUNGS = chest()
SIDES = np.where(LUNGS, np.where(np.arange(96) < 48, 1, 2), 0).astype(np.uint8)
#: Milliseconds within which training ends on a machine that is busy.
SOON = 120_000


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    yield started
    preferences().cluster.address = ""


@pytest.fixture
def library_as_before(phantom_model: Path) -> Iterator[None]:
    """A model that a test makes is gone after it."""
    yield
    shutil.rmtree(phantom_model.parent / "phantom-tuned", ignore_errors=True)


def test_a_cluster_is_a_device_and_its_loss_loses_nothing(cluster, open_desk, phantom_model, messages):
    worker = cluster.worker()
    desk = open_desk(CT)
    long = Volume(np.resize(CT.array, (2400, *CT.shape[1:])), CT.affine, "HU")
    desk.add(long, "long")
    preferences().cluster.address = cluster.address
    assert desk.controls.device.value == "auto"
    desk.controls.device.value = cluster.address
    assert desk.controls.device.current_choice == f"cluster {cluster.address.partition('://')[2]}"

    desk.press()
    desk.wait(lambda: "long probability" in desk.viewer.layers and desk.probability.data.any())
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON) as end:
        cluster.kill(worker)
    assert "Nothing of yours is lost: press again" in end.args[0]
    assert any("Nothing of yours is lost: press again" in message for message in messages)
    assert desk.probability.data.any()
    assert desk.lungs.data.any()

    cluster.worker()
    assert desk.segment() == ""
    there = segment(long, phantom_model, device="cpu")
    assert np.array_equal(desk.probability.data, there.probability.array)
    assert np.array_equal(desk.lungs.data, there.labels.array)


def test_what_was_corrected_is_learnt_on_a_cluster_whose_loss_keeps_the_last_epoch(
    cluster, open_desk, phantom_model, library_as_before, messages
):
    worker = cluster.worker()
    desk = open_desk(CT)
    assert desk.segment() == ""
    desk.lungs.data[1:8] = np.where(SIDES[1:8] == 1, 1, 0)
    result_of(desk.image).sync()
    preferences().cluster.address = cluster.address
    widget = desk.dock.open("Train")
    controls = widget.controls
    desk.wait(lambda: "phantom" in controls.base.choices and cluster.address in controls.device.choices)
    controls.base.value = "phantom"
    assert controls.device.value == "auto"
    controls.device.value = cluster.address
    assert controls.device.current_choice == f"cluster {cluster.address.partition('://')[2]}"
    for name, value in {"epochs": 1000, "steps_per_epoch": 5, "batch_size": 2, "view_px": 96}.items():
        controls.settings.controls[name].value = value
    widget._count()
    desk.wait(lambda: "7 slices annotated" in controls.overview.text())
    assert "of training here" not in controls.overview.text()

    desk.qtbot.mouseClick(controls.run, Qt.MouseButton.LeftButton)
    desk.wait(lambda: len(controls.curves.points["validation Dice"][0]) >= 1)
    with desk.qtbot.waitSignal(widget.idle, timeout=SOON) as end:
        cluster.kill(worker)
    assert "All up to the last epoch that came is kept: go on with the run" in end.args[0]
    assert end.args[0] in messages

    cluster.worker()
    desk.wait(lambda: "phantom-tuned was not finished" in controls.offer.text())
    desk.qtbot.mouseClick(controls.go_on, Qt.MouseButton.LeftButton)
    desk.wait(lambda: len(controls.curves.points["batch loss"][0]) >= 3)
    with desk.qtbot.waitSignal(widget.idle, timeout=SOON) as end:
        desk.qtbot.mouseClick(controls.stop, Qt.MouseButton.LeftButton)
    assert end.args[0] == ""
    epochs = [json.loads(line)["epoch"] for line in (phantom_model.parent / "phantom-tuned/training/log.jsonl").read_text().splitlines()]
    assert epochs == list(range(len(epochs)))
    with desk.qtbot.waitSignal(widget.idle, timeout=SOON):
        desk.qtbot.mouseClick(controls.verdict.accept, Qt.MouseButton.LeftButton)
    desk.wait(lambda: desk.controls.model.value == "phantom-tuned")


PRESS = """
import napari
from napari.utils.notifications import notification_manager
from napari_lungseg.widgets.preferences import preferences
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=False)
viewer.open_sample("napari-lungseg", "chest-ct")
_, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
preferences().cluster.address = "tcp://127.0.0.1:1"
desk, told = dock.open("Segment"), []
desk.idle.connect(told.append)
while "lung-ct" not in desk.controls.model.choices or "tcp://127.0.0.1:1" not in desk.controls.device.choices:
    QApplication.processEvents()
desk.controls.device.value = "tcp://127.0.0.1:1"
desk.controls.run.native.click()
while not told:
    QApplication.processEvents()
print(*told)
print(*(notification.message for notification in notification_manager.records))
viewer.close()
"""


def test_without_the_extra_one_sentence_names_it(tmp_path):
    environment = {**os.environ, "HIDDEN_MODULES": "distributed", "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    done = subprocess.run([sys.executable, "-c", PRESS], capture_output=True, text=True, timeout=200, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    sentence = "which is not installed; install it with: pip install 'napari-lungseg[cluster]'"
    assert [sentence in line for line in done.stdout.splitlines()[-2:]] == [True, True]
