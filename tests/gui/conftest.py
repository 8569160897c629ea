"""A real viewer with the plugin's dock, opened through the manifest, and the hands of a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from napari.layers import Labels, Layer
from napari.utils.notifications import notification_manager
from phantom import chest, chest_model
from qtpy.QtCore import Qt, QThreadPool

from napari_lungseg.model import FOLDER_VARIABLE, save_model
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.controls import Controls
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.segment import SegmentWidget

#: Milliseconds after which something that should happen soon has not happened; generous, for slow and busy machines.
SOON = 30_000


class Desk:
    """A viewer, the Segment module in it, and what a person does with them."""

    def __init__(self, viewer: Any, dock: Any, widget: SegmentWidget, qtbot: Any) -> None:
        self.viewer, self.dock, self.widget, self.qtbot = viewer, dock, widget, qtbot

    @property
    def controls(self) -> Controls:
        return self.widget.controls

    @property
    def image(self) -> Layer:
        return self.controls.image.value

    @property
    def lungs(self) -> Labels:
        return self.viewer.layers[f"{self.image.name} lungs"]

    @property
    def probability(self) -> Layer:
        return self.viewer.layers[f"{self.image.name} probability"]

    def add(self, volume: Volume, name: str = "ct") -> Layer:
        data, keywords = volume_to_layer(volume)
        return self.viewer.add_image(data, name=name, **keywords)

    def press(self) -> None:
        self.qtbot.mouseClick(self.controls.run.native, Qt.MouseButton.LeftButton)

    def segment(self) -> str:
        """Press the button and wait for the end; gives what went wrong, empty if nothing did."""
        with self.qtbot.waitSignal(self.widget.idle, timeout=SOON) as end:
            self.press()
        return end.args[0]

    def set_threshold(self, percent: int) -> None:
        """Move the slider and wait for the mask."""
        with self.qtbot.waitSignal(self.widget.idle, timeout=SOON):
            self.controls.threshold.value = percent

    def switch(self, step: str, value: Any) -> None:
        """Change a step of the post-processing and wait for the mask."""
        with self.qtbot.waitSignal(self.widget.idle, timeout=SOON):
            self.controls.steps[step].value = value

    def wait(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=SOON)


@pytest.fixture(scope="session")
def phantom_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that finds the phantom's lungs, in a library of its own."""
    return save_model(chest_model(), tmp_path_factory.mktemp("library") / "phantom")


@pytest.fixture
def open_desk(make_napari_viewer_proxy, qtbot, monkeypatch, phantom_model) -> Iterator[Callable[..., Desk]]:
    """Opens the dock on a viewer of its own, with the phantom's model chosen."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(phantom_model.parent))

    def call(*volumes: Volume, model: str = "phantom", **viewer_settings: Any) -> Desk:
        viewer = make_napari_viewer_proxy(**viewer_settings)
        _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        desk = Desk(viewer, dock, dock.open("Segment"), qtbot)
        for volume in volumes:
            desk.add(volume)
        desk.wait(lambda: model in desk.controls.model.choices)
        desk.controls.model.value = model
        return desk

    yield call
    QThreadPool.globalInstance().waitForDone(SOON)


@pytest.fixture
def desk(open_desk) -> Desk:
    """The dock with the phantom open."""
    return open_desk(chest()[0])


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What napari tells the person, as it comes."""
    told: list[str] = []

    def collect(notification: Any) -> None:
        told.append(str(notification.message))

    notification_manager.notification_ready.connect(collect)
    yield told
    notification_manager.notification_ready.disconnect(collect)
