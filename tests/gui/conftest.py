"""A real viewer with the plugin's dock, opened through the manifest, and the hands of a person."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from napari._qt.widgets.qt_welcome import QtWelcomeWidget
from napari.layers import Labels, Layer
from napari.utils.events import EventEmitter
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest
from phantom import chest, chest_model
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QApplication, QMessageBox
from viewing_room import CT, SIDES, Room
from vispy.gloo import glir, program
from vispy.visuals.shaders.function import Function
from vispy.visuals.text.text import SDFRendererCPU
from waiting import SOON, end_work, turn

from napari_lungseg.model import FOLDER_VARIABLE as LIBRARY_VARIABLE
from napari_lungseg.model import save_model
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.correct.controls import CorrectControls
from napari_lungseg.widgets.correct.widget import CorrectWidget
from napari_lungseg.widgets.language import use_language
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.segment.controls import Controls
from napari_lungseg.widgets.segment.widget import SegmentWidget
from napari_lungseg.widgets.views.viewing import View
from napari_lungseg.workspace import FOLDER_VARIABLE


class Desk:
    """A viewer, the Segment module in it, and what a person does with them."""

    def __init__(self, viewer: Any, dock: Any, widget: SegmentWidget, qtbot: Any) -> None:
        self.viewer, self.dock, self.widget, self.qtbot = viewer, dock, widget, qtbot

    @property
    def controls(self) -> Controls:
        return self.widget.controls

    @property
    def correct(self) -> CorrectWidget:
        return self.dock.open("Correct")

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


@pytest.fixture(scope="session", autouse=True)
def english() -> None:
    """The window is English wherever the tests run."""
    use_language("en")


@pytest.fixture
def chinese() -> Iterator[None]:
    """The window is Chinese."""
    use_language("zh_CN")
    yield
    use_language("en")


@pytest.fixture(scope="session", autouse=True)
def manifests_read_once() -> Iterator[None]:
    """Each new window reads the manifests of all plugins anew, which took a tenth of a test's time; they do not change meanwhile."""
    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        yield


@pytest.fixture(scope="session", autouse=True)
def napari_made_quick() -> Iterator[None]:
    """Spare napari and vispy what they do again and again, the same each time, a fifth of the time of a window."""
    takes_event, check = WeakKeyDictionary[Any, bool](), EventEmitter._check_signature

    def check_once(callback: Any) -> bool:
        plain = isinstance(callback, FunctionType)
        # Layers, which are disconnected from all that they might hear, are callable too.
        called = callback if plain else getattr(callback, "__func__", None) or type(callback).__call__
        if not isinstance(called, FunctionType):
            return check(callback)
        if called not in takes_event:
            takes_event[called] = check(callback)
        return takes_event[called]

    def refresh(*_: Any) -> None:
        """Nothing; napari finds methods by their names."""

    bitmaps: dict[tuple[bytes, Any, Any], np.ndarray] = {}
    render = SDFRendererCPU.render_to_texture

    def render_once(renderer: Any, data: np.ndarray, texture: np.ndarray, offset: Any, size: Any) -> None:
        key = (data.tobytes(), data.shape, size)
        if key not in bitmaps:
            bitmaps[key] = np.zeros((size[1], size[0], 3), np.uint8)
            render(renderer, data, bitmaps[key], (0, 0), size)
        texture[offset[1] : offset[1] + size[1], offset[0] : offset[0] + size[0]] = bitmaps[key]

    clean = cache(partial(Function._clean_code, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventEmitter, "_check_signature", staticmethod(check_once))
        patch.setattr(Function, "_clean_code", lambda _, code: clean(code))
        patch.setattr(program, "re", SimpleNamespace(**vars(re) | {"sub": cache(re.sub)}))
        patch.setattr(glir, "_convert_desktop_shader", cache(glir._convert_desktop_shader))
        patch.setattr(SDFRendererCPU, "render_to_texture", render_once)
        # Each of a hundred shortcuts lets all welcome screens write all that they show anew, which no test looks at.
        patch.setattr(QtWelcomeWidget, "refresh", refresh)
        yield


@pytest.fixture(autouse=True)
def application_let_go() -> Iterator[None]:
    """Let go of the napari application that was made for a test: Qt's application keeps its menus, the plugin manager its commands."""
    yield
    for context in PluginManager.instance()._contexts.values():
        context._dispose()
    application = QApplication.instance()
    for action in () if application is None else application.findChildren(QAction, options=Qt.FindChildOption.FindDirectChildrenOnly):
        action.deleteLater()


@pytest.fixture(autouse=True)
def workspace_folder(tmp_path, monkeypatch) -> Path:
    """An empty workspace for each test."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


class Questions:
    """What closing windows ask about work that is not saved, and the answers that a test gives beforehand."""

    LEAVE, STAY, ELSEWHERE = "Close without saving", "Cancel", "Save in another folder …"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[str] = []

    def expect(self, answer: str = LEAVE) -> None:
        """Say that the next closing of a window asks, and what is answered then."""
        self.answers.append(answer)

    def answer(self, box: QMessageBox) -> None:
        """Press the button of the next answer; a question that no test expects lets the window close and fails the test later."""
        number = len(self.asked)
        self.asked.append(box.informativeText())
        text = self.answers[number] if number < len(self.answers) else self.LEAVE
        next(button for button in box.buttons() if button.text().replace("&", "") == text).click()


@pytest.fixture(autouse=True)
def questions(monkeypatch) -> Iterator[Questions]:
    """Fails a test whose window closes with unsaved work, unless the test expects the question; and one that expects it in vain."""
    questions, exec_box = Questions(), QMessageBox.exec

    def answer(box: QMessageBox) -> int:
        return questions.answer(box) or 0 if box.windowTitle() == "Not saved" else exec_box(box)

    monkeypatch.setattr(QMessageBox, "exec", answer)
    yield questions
    assert len(questions.asked) == len(questions.answers), f"Windows closed with unsaved work and asked {questions.asked}"


@pytest.fixture(scope="session")
def phantom_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that finds the phantom's lungs, in a library of its own."""
    return save_model(chest_model(), tmp_path_factory.mktemp("library") / "phantom")


@pytest.fixture
def open_desk(make_napari_viewer_proxy, qtbot, monkeypatch, phantom_model) -> Iterator[Callable[..., Desk]]:
    """Opens the dock on a viewer of its own, with the phantom's model chosen."""
    monkeypatch.setenv(LIBRARY_VARIABLE, str(phantom_model.parent))

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
    end_work()


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


class Hand:
    """The mouse on the canvas of a viewer, at voxels of one layer."""

    def __init__(self, viewer: Any, lungs: Labels, qtbot: Any) -> None:
        self.viewer, self.lungs, self.qtbot = viewer, lungs, qtbot

    def drag(self, *places: tuple[float, ...], button: Any = Qt.MouseButton.LeftButton) -> None:
        """Press the mouse on the first voxel, move it to the others, and let it go."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        spots = [self.spot(place) for place in places]
        self.qtbot.mouseMove(canvas, spots[0])
        self.qtbot.mousePress(canvas, button, pos=spots[0])
        for spot in spots[1:]:
            self.qtbot.mouseMove(canvas, spot)
        self.qtbot.mouseRelease(canvas, button, pos=spots[-1])

    def spot(self, place: tuple[float, ...]) -> QPoint:
        """Where a voxel is seen on the canvas."""
        camera, canvas = self.viewer.camera, self.viewer.window._qt_viewer.canvas.native
        y, x = (np.array(self.lungs.data_to_world(place)) - self._centre())[list(self.viewer.dims.displayed)] * camera.zoom
        return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))

    def _centre(self) -> Any:
        centre = np.zeros(self.viewer.dims.ndim)
        centre[list(self.viewer.dims.displayed)] = self.viewer.camera.center[-2:]
        return centre


class Bench(Hand):
    """A viewer with the phantom, a mask that no model made, and the Correct module on it."""

    def __init__(self, viewer: Any, widget: CorrectWidget, lungs: Labels, qtbot: Any) -> None:
        super().__init__(viewer, lungs, qtbot)
        self.widget = widget

    @property
    def controls(self) -> CorrectControls:
        return self.widget.controls

    @property
    def status(self) -> str:
        return self.controls.tools.status.text()

    def choose(self, tool: str, scope: str | None = None, **values: Any) -> None:
        form = self.controls.tools
        form.tool.value = tool
        if scope is not None:
            form.where.value = scope
        for name, value in values.items():
            form.parameters()[name].value = value

    def press(self) -> None:
        self.qtbot.mouseClick(self.controls.tools.apply.native, Qt.MouseButton.LeftButton)

    def apply(self, tool: str, scope: str | None = None, **values: Any) -> str:
        """Choose a tool, press the button and wait for the end; gives what went wrong, empty if nothing did."""
        self.choose(tool, scope, **values)
        with self.qtbot.waitSignal(self.widget.idle, timeout=SOON) as end:
            self.press()
        return end.args[0]


@pytest.fixture
def hand(qtbot) -> Callable[[Any, Labels], Hand]:
    """Gives the mouse on a layer of a viewer."""
    return lambda viewer, lungs: Hand(viewer, lungs, qtbot)


@pytest.fixture
def open_bench(make_napari_viewer_proxy, qtbot) -> Iterator[Callable[..., Bench]]:
    """Opens the Correct module on an image and a mask of its own."""

    def call(volume: Volume, labels: Any, **viewer_settings: Any) -> Bench:
        viewer = make_napari_viewer_proxy(**viewer_settings)
        data, keywords = volume_to_layer(volume)
        viewer.add_image(data, name="ct", **keywords)
        lungs = viewer.add_labels(labels, name="lungs", **keywords)
        _, widget = viewer.window.add_plugin_dock_widget("napari-lungseg", "Correct")
        turn(qtbot)  # the canvas makes room for the dock
        return Bench(viewer, widget, lungs, qtbot)

    yield call
    end_work()


@pytest.fixture
def room(make_napari_viewer_proxy, qtbot):
    yield Room(make_napari_viewer_proxy(show=True), qtbot)
    end_work()


@pytest.fixture
def four(room):
    """The phantom and its mask in four views."""
    room.mask = room.add(CT, CT.with_array(SIDES))
    room.press(View.FOUR_UP)
    return room
