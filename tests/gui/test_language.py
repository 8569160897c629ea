"""The window in Chinese: every text of it, and the same work on disk as in English."""

from __future__ import annotations

import re
from getpass import getuser
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QTableWidget,
    QWidget,
)
from waiting import SOON

from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.formats import SeriesInfo
from napari_lungseg.training.judge import decide
from napari_lungseg.training.updates import BeforeAfter, Finished, PooledScores, Verdict
from napari_lungseg.widgets import language
from napari_lungseg.widgets.dialogs import SeriesDialog
from napari_lungseg.widgets.dock import MODULES
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.train.verdict import VerdictBox
from napari_lungseg.workspace import FOLDER_VARIABLE, export_record

CT, LUNGS = chest()
#: Words that Chinese texts have too: units, formats, names of measures, libraries, models and keys; napari's own menus; layers.
WORDS = """
HU CT DICOM SEG GPU CPU cpu mm cm mL px min
Dice HD ASSD IoU F1 Hausdorff Feret SD Perc LAA
CSV JSON HTML STL OBJ PLY GLB nnU Net
napari pyqtgraph pip install Preferences Lung segmentation segment summary
Escape Enter Shift Return PgUp PgDown
bce dice ce adamw adam sgd poly cosine constant Nesterov EMA
phantom lung xray small article
ct lungs probability
"""
ALLOWED = frozenset([*WORDS.split(), *re.findall(r"[A-Za-z]{2,}", getuser())])
WORD = re.compile(r"[A-Za-z]{2,}")


def texts_of(widget: QWidget) -> list[str]:
    """All that a widget shows a person, with its tooltip."""
    found = [widget.toolTip()]
    if isinstance(widget, QLabel | QAbstractButton):
        found.append(widget.text())
    if isinstance(widget, QComboBox):
        found += [widget.itemText(row) for row in range(widget.count())]
    if isinstance(widget, QLineEdit):
        found.append(widget.placeholderText())
    if isinstance(widget, QAbstractSpinBox) and hasattr(widget, "suffix"):
        found.append(widget.suffix())
    if isinstance(widget, QProgressBar):
        found.append(widget.format())
    if isinstance(widget, QListWidget):
        found += [widget.item(row).text() for row in range(widget.count())]
    if isinstance(widget, QTableWidget):
        headers = [widget.horizontalHeaderItem(column) for column in range(widget.columnCount())]
        headers += [widget.verticalHeaderItem(row) for row in range(widget.rowCount())]
        for header in filter(None, headers):
            found += [header.text(), header.toolTip()]
    if hasattr(widget, "actions"):
        found += [action.text() for action in widget.actions()]
    return found


def english_in(widget: QWidget) -> dict[str, list[str]]:
    """Texts of a widget and all its parts that hold English words, with these."""
    found = {}
    for part in (widget, *widget.findChildren(QWidget)):
        for text in texts_of(part):
            shown = unescape(re.sub(r"<[^>]*>", " ", text))
            if words := [word for word in WORD.findall(shown) if word not in ALLOWED]:
                found[text] = words
    return found


@pytest.fixture
def desk(chinese, open_desk):
    """The phantom, segmented in a Chinese window."""
    desk = open_desk(CT, show=True)
    assert desk.segment() == ""
    return desk


def test_an_empty_window_shows_no_english(chinese, open_desk):
    desk = open_desk()
    for name in MODULES:
        desk.dock.open(name)
    assert not english_in(desk.dock)


def test_a_window_at_work_shows_no_english(desk, qtbot):
    correct, review, train, evaluate, measure = (desk.dock.open(name) for name in ("Correct", "Review", "Train", "Evaluate", "Measure"))
    desk.lungs.paint((5, 2, 2), 1)
    tools = correct.controls.tools
    for tool in tools.tool.choices:
        if tool in TOOLS:
            tools.tool.value = tool
    tools.tool.value = "fill_holes"
    with qtbot.waitSignal(correct.idle, timeout=SOON):
        tools.apply.native.click()
    correct.controls.show_changes.value = True
    desk.wait(lambda: review.reviewing is not None and review.session.workspace is not None)
    for act in (review.accept_slice, review.flag_slice, review.reject_slice):
        act()
    desk.wait(lambda: review.reviewing.target.case is not None)
    review.go(5)
    desk.wait(lambda: review.past.list.count() > 0)
    desk.dock.open("Train")
    desk.wait(lambda: train.overview is not None)
    options = {name: getattr(desk.lungs, name) for name in ("scale", "translate", "units", "metadata")}
    desk.viewer.add_labels(LUNGS.astype(np.uint8), name="lungs", **options)
    for module, button in ((evaluate, evaluate.run), (measure, measure.controls.run)):
        with qtbot.waitSignal(module.idle, timeout=SOON):
            button.click()
    assert not english_in(desk.dock)


def test_what_went_wrong_is_told_in_chinese(desk, qtbot, messages):
    correct = desk.dock.open("Correct")
    correct.controls.tools.tool.value = "copy_previous"
    desk.viewer.dims.set_current_step(0, 0)
    with qtbot.waitSignal(correct.idle, timeout=SOON):
        correct.controls.tools.apply.native.click()
    assert messages[-1] == "第一层之前没有层了；请转到其他层。"


def test_a_sentence_of_the_engine_is_told_in_chinese(desk, qtbot, messages):
    measure = desk.dock.open("Measure")
    desk.viewer.add_labels(np.zeros_like(desk.lungs.data), name="ct lungs")
    with qtbot.waitSignal(measure.idle, timeout=SOON) as end:
        measure.controls.run.click()
    assert end.args[0] == messages[-1] == "标签为空，没有可测量的内容；请先分割图像或选择其他掩膜。"


def test_steps_are_undone_by_their_names_in_chinese(desk):
    correct = desk.dock.open("Correct")
    desk.lungs.paint((5, 2, 2), 1)
    desk.wait(lambda: correct.controls.undo.tooltip == "撤销：涂画")
    desk.lungs.undo()
    desk.wait(lambda: correct.controls.redo.tooltip == "重做：涂画")
    assert correct.controls.tools.status.text() == "已撤销：涂画。"


def test_a_dialog_is_chinese(chinese, qtbot):
    choices = tuple(SeriesInfo(key, "", (3, 4, 5), (1.0, 1.0, 1.0), "") for key in ("1", "2"))
    dialog = SeriesDialog("ct", choices)
    qtbot.addWidget(dialog)
    headings = [dialog.list.headerItem().text(column) for column in range(dialog.list.columnCount())]
    assert not english_in(dialog)
    assert headings[1:4] == ["描述", "部分", "列 x 行 x 层"]
    assert dialog.windowTitle() == "打开哪些图像？"


@pytest.mark.parametrize("after", [0.95, 0.85])
def test_the_verdict_of_a_training_is_chinese(chinese, qtbot, after):
    before, now = (PooledScores(0.1, *({"lung": dice} for _ in range(4))) for dice in (0.9, after))
    compared = BeforeAfter(3, before, now)
    box = VerdictBox()
    qtbot.addWidget(box)
    box.show_end(Finished("", "tuned", Verdict(*decide(compared, compared, ""), compared, compared, ()), 1.0))
    assert not english_in(box)
    assert ("已通过" if after > 0.9 else "未通过") in box.why.text()


def work(desk, path: Path) -> tuple[str, dict[int, tuple[str, str]], np.ndarray]:
    """Segment, correct and review; gives the record, what was said of each slice, and the mask, all from the disk."""
    assert desk.segment() == ""
    correct = desk.dock.open("Correct")
    desk.lungs.paint((5, 2, 2), 1)
    correct.controls.tools.tool.value, correct.controls.tools.where.value = "grow", "slice"
    correct.controls.tools.parameters()["mm"].value = 10.0
    desk.viewer.dims.set_current_step(0, 5)
    with desk.qtbot.waitSignal(correct.idle, timeout=SOON):
        desk.qtbot.mouseClick(correct.controls.tools.apply.native, Qt.MouseButton.LeftButton)
    review = desk.dock.open("Review")
    desk.wait(lambda: review.reviewing is not None and review.session.workspace is not None)
    for index, act in ((4, review.accept_slice), (5, review.flag_slice), (6, review.reject_slice)):
        review.go(index)
        act()
    session, target = review.session, review.reviewing.target
    desk.wait(lambda: target.case is not None and not session.tracking.pending(target))
    record = export_record(session.workspace, path).read_text(encoding="utf-8")
    states = {index: (known.state, known.note) for index, known in session.workspace.states(target.case).items()}
    return record, states, session.workspace.load(target.case).labels


def test_the_same_work_is_on_disk_in_both_languages(open_desk, tmp_path, monkeypatch):
    found = {}
    for name in ("en", "zh_CN"):
        language.use_language(name)
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / name))
        try:
            desk = open_desk(CT, show=True)
            found[name] = (*work(desk, tmp_path / f"{name}.csv"), [layer.name for layer in desk.viewer.layers])
            desk.viewer.layers.clear()
        finally:
            language.use_language("en")
    (_, *english), (record, *chinese) = found["en"], found["zh_CN"]
    # What is saved together depends on when; how it is called does not.
    assert re.search("paint|Grow", record)
    assert record.replace(getuser(), "").isascii()
    assert english[0] == chinese[0]
    assert np.array_equal(english[1], chinese[1])
    assert english[2] == chinese[2]


@pytest.mark.parametrize(
    ("preferred", "of_system", "expected"),
    [
        ("system", ["zh-Hans-CN", "zh-CN"], "zh_CN"),
        ("system", ["zh-SG", "en"], "zh_CN"),
        ("system", ["zh-Hant-TW", "zh-TW"], "en"),
        ("system", ["en-GB", "zh-CN"], "en"),
        ("system", ["C"], "en"),
        ("system", [], "en"),
        ("English", ["zh-CN"], "en"),
        ("简体中文", ["en-US"], "zh_CN"),
    ],
)
def test_the_language_is_the_preferred_one_or_the_systems(preferred, of_system, expected):
    assert language.chosen_language(preferred, of_system) == expected


def test_the_preference_counts_from_the_next_start_on(chinese, monkeypatch):
    preferences().window.language = "English"
    try:
        assert language.tr("Segment") == "分割"
        # Undone here: after the fixture has gone back to English, it would bring Chinese back.
        with monkeypatch.context() as patch:
            patch.setattr(language, "_used", [])
            assert language.tr("Segment") == "Segment"
    finally:
        preferences().window.language = "system"
