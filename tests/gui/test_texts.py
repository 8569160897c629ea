"""Names from files are shown letter by letter, whatever HTML they hold."""

from __future__ import annotations

from html import unescape

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QLabel
from superqt import QElidingLabel

from napari_lungseg.errors import InputError
from napari_lungseg.training.updates import BeforeAfter, Overview, PooledScores, Verdict
from napari_lungseg.widgets.forms import wrapped
from napari_lungseg.widgets.notices import as_text, show_error, show_info, show_warning
from napari_lungseg.widgets.readers import read_layers
from napari_lungseg.widgets.texts import plain_label, set_plain_tooltip
from napari_lungseg.widgets.train.verdict import _table

NAME = '<img src="file:///etc/hostname"><b>bold</b>'


def shown(html: str) -> str:
    document = QTextDocument()
    document.setHtml(html)
    return document.toPlainText()


def test_labels_show_tags_as_text(qtbot) -> None:
    for label in (plain_label(NAME), wrapped(NAME)):
        qtbot.addWidget(label)
        assert label.textFormat() == Qt.TextFormat.PlainText


def test_tooltips_show_tags_as_text(qtbot) -> None:
    label = QLabel()
    qtbot.addWidget(label)
    set_plain_tooltip(label, NAME)
    assert shown(label.toolTip()) == NAME
    set_plain_tooltip(label, "")
    assert label.toolTip() == ""


def test_what_there_is_to_learn_from_shows_names_as_text(open_desk) -> None:
    controls = open_desk().dock.open("Train").controls
    controls.show_overview(Overview(1, 1, 0, {NAME: 1}, 1, 0, NAME, (f"{NAME}: unreadable",)), None)
    assert shown(controls.overview.text()).count(NAME) == 3
    assert "<img" not in controls.overview.text()


def test_the_verdict_shows_names_as_text() -> None:
    values = {NAME: 0.5, "lung": 0.5}
    scores = PooledScores(0.1, *(dict(values) for _ in range(4)))
    table = _table(Verdict(True, "", BeforeAfter(1, None, scores), None, ()))
    assert "<img" not in table
    assert unescape(table).count(NAME) == 4


@pytest.mark.parametrize("name", [NAME, "<b>", "</b>", "<!--", "<?xml", "a < b", "x<1>", "&lt;b>", "line\n<b>"])
def test_notices_show_tags_as_text(qtbot, name: str) -> None:
    label = QElidingLabel(as_text(f"Saving {name} failed."))
    qtbot.addWidget(label)
    text = shown(label.text()) if Qt.mightBeRichText(label.text()) else label.text()
    assert text.replace("\u200b", "") in (f"Saving {name} failed.", f"Saving {name} failed.".replace("&lt;", "<"))


@pytest.mark.parametrize("show", [show_info, show_warning, show_error])
def test_all_notices_are_made_text(show) -> None:
    told: list[str] = []
    heard = notification_manager.notification_ready.connect(lambda notification: told.append(notification.message))
    show(f"Saving {NAME} failed.")
    notification_manager.notification_ready.disconnect(heard)
    assert [Qt.mightBeRichText(message) for message in told] == [False]


def test_a_file_that_cannot_be_opened_is_told_as_text(tmp_path) -> None:
    path = tmp_path / "<img src=x>.nii.gz"
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="damaged") as told:
        read_layers(str(path))
    assert not Qt.mightBeRichText(str(told.value))
