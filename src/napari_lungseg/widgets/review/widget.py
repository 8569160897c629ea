"""The Review module: one slice after the other, the most doubtful first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox
from qtpy.QtCore import Signal
from qtpy.QtGui import QHideEvent, QShortcut, QShowEvent
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import emphasise, fill_module, folded, form, make_button, scrolled, wrapped
from napari_lungseg.widgets.intensity_windows import FROM_DATA, WINDOWS, set_window, window_limits
from napari_lungseg.widgets.keys import ModuleKeys
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import is_image, results_in
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.review.blind import HERE, Blind
from napari_lungseg.widgets.review.cases import Cases
from napari_lungseg.widgets.review.other_reader import OtherReader
from napari_lungseg.widgets.review.past import Past
from napari_lungseg.widgets.review.reviewing import Reviewing
from napari_lungseg.widgets.review.strip import COLOURS, Strip
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.texts import plain_label
from napari_lungseg.widgets.view import OUTSIDE, displayed_time_index, displayed_voxel, is_outside, show_slice
from napari_lungseg.workspace import SAID

if TYPE_CHECKING:
    import napari.viewer

NOTHING = mark("Segment an image first, or start from a mask in a file (Workspace, below).")
#: What each shortcut does, by its key in the preferences.
SHORTCUTS = {
    "accept": mark("Accept this slice and go to the next"),
    "flag": mark("Flag it for later"),
    "previous": mark("Back to the slice before"),
    "skip": mark("Next unreviewed slice"),
}


class ReviewWidget(Panel):
    """Look at the slices in the order of their doubt, and accept or flag them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: All slices are reviewed.
    finished = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.session = session_of(viewer, self)
        self.reviewing: Reviewing | None = None
        self.mask = ComboBox(label=tr("Mask"), choices=self._masks, tooltip=tr("The mask to review; follows the layer that is selected."))
        self.strip = Strip(self._describe)
        self.progress = plain_label()
        self.accept = make_button(
            tr("Accept, next slice"), tr("You stand for every voxel of this slice; the one most worth a look comes next.")
        )
        self.flag = make_button(tr("Flag"), tr("Leave this slice for later, with the note, and go on."))
        self.reject = make_button(tr("Reject"), tr("This slice is of no use: nothing is learnt from it, and exports ignore it."))
        self.skip = make_button(tr("Skip"), tr("Go to the next slice that nobody has reviewed."))
        self.previous = make_button(tr("Back"), tr("Go to the slice that was shown before."))
        self.reopen = make_button(
            tr("Open again"), tr("Stand for this slice no longer: what you set stays yours, the rest is the model's again.")
        )
        self.note = QLineEdit(placeholderText=tr("A note, if you flag or reject it"))
        self.note.setToolTip(tr("Kept with the slice when you flag or reject it."))
        self.windows = {name: make_button(tr(name), _window_tip(name)) for name in (*WINDOWS, FROM_DATA)}
        self.past = Past(self.session)
        self.other = OtherReader(self.session)
        self.blind = Blind()
        self.read_blind = wrapped(tr(HERE))
        self.cases = Cases(self.session)
        actions = {"accept": self.accept_slice, "flag": self.flag_slice, "previous": self.go_back, "skip": self.skip_slice}
        self._keys = ModuleKeys(self, actions, {"flag": self.note})
        self._been: list[int] = []
        self._key_list = QLabel()
        self._key_list.setWordWrap(True)
        self._lay_out()
        self._connect()
        self._mask_chosen()

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(6)
        layout.addWidget(form(self.mask))
        layout.addWidget(self.strip)
        legend = QLabel(" ".join(f'<span style="color:{colour}">■</span>&nbsp;{tr(state)}' for state, colour in COLOURS.items()))
        legend.setWordWrap(True)
        legend.setMinimumWidth(1)
        layout.addWidget(legend)
        self.progress.setWordWrap(True)
        layout.addWidget(self.progress)
        # Long names are cut, rather than widen the dock.
        self.mask.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.progress.setMinimumWidth(1)
        layout.addWidget(self.read_blind)
        emphasise(self.accept)
        layout.addWidget(self.accept)
        layout.addLayout(_row(self.previous, self.skip, self.flag, self.reject, self.reopen))
        layout.addWidget(self.note)
        layout.addLayout(_row(*self.windows.values()))
        layout.addWidget(folded(tr("Earlier states of this slice"), self.past))
        layout.addWidget(folded(tr("Another reader"), self.other))
        layout.addWidget(folded(tr("Blind reading"), self.blind))
        layout.addWidget(folded(tr("Cases of a folder"), self.cases))
        layout.addWidget(folded(tr("Shortcuts"), self._key_list))
        layout.addStretch()
        fill_module(self, scrolled(inner))

    def _connect(self) -> None:
        self.mask.changed.connect(self._mask_chosen)
        self.strip.clicked.connect(self.go)
        self.other.chosen.connect(self.go)
        self.blind.chosen.connect(self.go)
        for button, slot in (
            (self.accept, self.accept_slice),
            (self.flag, self.flag_slice),
            (self.reject, self.reject_slice),
            (self.skip, self.skip_slice),
            (self.previous, self.go_back),
            (self.reopen, self.reopen_slice),
        ):
            button.clicked.connect(slot)
            button.clicked.connect(self._keys.take)
        self.strip.clicked.connect(self._keys.take)
        for name, button in self.windows.items():
            button.clicked.connect(partial(self._set_window, name))
        self.listen_to_layers(self._layers_changed)
        self.listen(self.viewer.layers.selection.events.active, self._follow)
        self.listen(self.viewer.dims.events.current_step, self._slice_changed)
        for name in SHORTCUTS:
            getattr(preferences().review.events, name).connect(self._set_keys)
        self._set_keys()

    # ---- which mask

    def _masks(self, _: Any = None) -> list[tuple[str, MaskLayer]]:
        return [(result.lungs.name, result) for result in results_in(self.viewer) if result.lungs is not None]

    def _layers_changed(self, _: Any = None) -> None:
        self.mask.reset_choices()
        result, reviewing = self.mask.value, self.reviewing
        # A mask that was made anew, or whose image was replaced, keeps its result.
        if reviewing is None:
            same = result is None
        else:
            same = result is reviewing.result and self.session.tracking.known(result, reviewing.document.time_index) is reviewing.target
        if not same:
            self._mask_chosen()

    def _follow(self) -> None:
        active = self.viewer.layers.selection.active
        for _, result in self._masks():
            if active is not None and (active == result.lungs or active == result.image):
                self.mask.value = result

    def _mask_chosen(self) -> None:
        if self.reviewing is not None:
            self.reviewing.end()
            self.reviewing = None
        result = self.mask.value
        self._been = []
        if result is not None:
            self.reviewing = Reviewing(self.session, result, self._time_index(result))
            self.reviewing.changed.connect(self._show)
        self._show()

    def _time_index(self, result: MaskLayer) -> tuple[int, ...]:
        assert result.lungs is not None
        return displayed_time_index(self.viewer, result.lungs)

    # ---- what a person does

    def accept_slice(self) -> None:
        """Stand for the displayed slice and go to the one that is most worth a look."""
        if self.reviewing is not None and self._is_shown():
            self._go_on(self.reviewing.accept(self._here()))

    def flag_slice(self) -> None:
        """Leave the displayed slice for later, with the note, and go on."""
        if self.reviewing is not None and self._is_shown():
            self.reviewing.flag(self._here(), self.note.text())
            self._go_on(self.reviewing.next())

    def reject_slice(self) -> None:
        """Say that the displayed slice is of no use, with the note, and go on."""
        if self.reviewing is not None and self._is_shown():
            self.reviewing.reject(self._here(), self.note.text())
            self._go_on(self.reviewing.next())

    def reopen_slice(self) -> None:
        """Stand for the displayed slice no longer."""
        if self.reviewing is not None and self._is_shown():
            self.reviewing.reopen(self._here())

    def skip_slice(self) -> None:
        """Go to the next slice that nobody has reviewed, in their order."""
        if self.reviewing is None:
            return
        count, here = self.reviewing.document.slices, self._here()
        order = [(here + 1 + ahead) % count for ahead in range(count - 1)]
        self._go_on(next((index for index in order if self.reviewing.state(index) not in ("reviewed", "rejected")), None))

    def go_back(self) -> None:
        """Back to the slice that was looked at before."""
        if self._been:
            index = self._been.pop()
            self._go(index)

    def go(self, index: int) -> None:
        """Go to a slice."""
        if self.reviewing is not None and index != self._here():
            self._been.append(self._here())
            self._go(index)

    def _go_on(self, index: int | None) -> None:
        if index is None:
            self._show()
            if self.reviewing is not None and self.reviewing.done:
                self.finished.emit()
                self.cases.next()
            return
        self.go(index)

    def _go(self, index: int) -> None:
        assert self.reviewing is not None
        show_slice(self.viewer, self.reviewing.result.lungs, self.reviewing.document.axis, index)

    def _set_window(self, name: str) -> None:
        image = self.mask.value.image if self.mask.value is not None else self.viewer.layers.selection.active
        if image is not None and is_image(image):
            set_window(image, name)

    # ---- what is shown

    def _here(self) -> int:
        assert self.reviewing is not None
        lungs, axis = self.reviewing.result.lungs, self.reviewing.document.axis
        return displayed_voxel(self.viewer, lungs)[axis] if lungs is not None and lungs.ndim > 2 else 0

    def _is_shown(self) -> bool:
        """Whether the slice that is nearest to the place on the canvas is the one that lies there, so that something can be said of it."""
        assert self.reviewing is not None
        lungs = self.reviewing.result.lungs
        return lungs is None or not is_outside(self.viewer, lungs)

    def _slice_changed(self) -> None:
        reviewing = self.reviewing
        if reviewing is None:
            return
        if displayed_time_index(self.viewer, reviewing.result.lungs) != reviewing.document.time_index:
            self._mask_chosen()
            return
        self._show()

    def _show(self) -> None:
        reviewing = self.reviewing
        for widget in (self.accept, self.flag, self.reject, self.skip, self.previous, self.reopen, self.note):
            widget.setEnabled(reviewing is not None)
        if reviewing is None:
            self.strip.show_slices(np.zeros(0), {}, -1)
            self.progress.setText(tr(NOTHING))
            self.past.show_slice(None, 0)
            self.other.show_slice(None, 0)
            self.blind.follow(None)
            self.read_blind.setVisible(False)
            return
        here, shown = self._here(), self._is_shown()
        for widget in (self.accept, self.flag, self.reject, self.note):
            widget.setEnabled(shown)
        if shown:
            reviewing.look_at(here)
        blind = reviewing.document.blind
        self.strip.show_slices(reviewing.scores, reviewing.states, here, blind)
        self.blind.follow(reviewing)
        self.read_blind.setVisible(here in blind)
        self.reopen.setEnabled(shown and reviewing.state(here) in SAID)
        self.previous.setEnabled(bool(self._been))
        if not self.note.hasFocus():
            self.note.setText(reviewing.notes.get(here, ""))
        self.progress.setText(_progress(reviewing) if shown else tr(OUTSIDE, name=reviewing.result.image.name))
        self.past.show_slice(reviewing, here)
        self.other.show_slice(reviewing, here)

    def _describe(self, index: int) -> str:
        assert self.reviewing is not None
        note = self.reviewing.notes.get(index, "")
        doubt = tr("about {area:.0f} mm² in doubt", area=self.reviewing.scores[index])
        if index in self.reviewing.document.blind:
            doubt = tr("to be read blind")
        told = tr("Slice {index}: {state}, {doubt}", index=index, state=tr(self.reviewing.state(index)), doubt=doubt)
        return told + (f"\n{note}" if note else "")

    # ---- keys

    @property
    def shortcuts(self) -> dict[str, QShortcut]:
        """By what they do."""
        return self._keys.shortcuts

    def _set_keys(self, _: Any = None) -> None:
        keys = preferences().review
        for name in self.shortcuts:
            self._keys.set_key(name, getattr(keys, name))
        rows = "".join(f"<tr><td><b>{getattr(keys, name)}</b>&nbsp;&nbsp;</td><td>{tr(text)}</td></tr>" for name, text in SHORTCUTS.items())
        self._key_list.setText(f"<table>{rows}</table>" + tr("Change them in Preferences, under Lung segmentation."))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """The keys work while the module is seen."""
        super().showEvent(event)
        self._keys.shown()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """And no longer."""
        super().hideEvent(event)
        self._keys.hidden()

    def let_go(self) -> None:
        """End the review with the window or the dock."""
        self.other.show_slice(None, 0)
        if self.reviewing is not None:
            self.reviewing.end()


def _window_tip(name: str) -> str:
    if name == FROM_DATA:
        return tr("Show the image from the lowest to the highest of its usual numbers.")
    low, high = window_limits(name)
    return tr("Show the image from {low:.0f} to {high:.0f} HU.", low=low, high=high)


def _row(*buttons: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    for button in buttons:
        # Else the texts of four buttons are wider than the dock.
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        button.setStyleSheet("padding: 5px 1px")
        row.addWidget(button, stretch=4 + len(button.text()))
    row.setSpacing(4)
    return row


def _progress(reviewing: Reviewing) -> str:
    count, done = reviewing.document.slices, len(reviewing.reviewed)
    flagged = sum(state == "flagged" for state in reviewing.states.values())
    text = tr("{done} of {total} slices reviewed", done=done, total=count)
    if flagged:
        text += tr(", {count} flagged", count=flagged)
    rejected = len(reviewing.document.rejected)
    if rejected:
        text += tr(", {count} rejected", count=rejected)
    if done and reviewing.slices.spent_s >= 1:
        each = reviewing.slices.spent_s / done
        left = each * (count - done - rejected) / 60
        text += tr(" · {seconds:.0f} s a slice", seconds=each) + (tr(" · about {minutes:.0f} min left", minutes=left) if left >= 1 else "")
    return tr("{progress}: all done.", progress=text) if reviewing.done else tr("{progress}.", progress=text)
