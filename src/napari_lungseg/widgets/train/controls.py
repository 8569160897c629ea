"""The form of the Train module: what can be set, and what is shown of a run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_lungseg.architecture import PRESETS
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.widgets.forms import clock, emphasise, fill, folded, form, make_button, scrolled, shorten, wrapped
from napari_lungseg.widgets.train.augment_form import AugmentForm
from napari_lungseg.widgets.train.curves import Curves
from napari_lungseg.widgets.train.input_form import ChooseForm
from napari_lungseg.widgets.train.pictures import Picture, Pictures
from napari_lungseg.widgets.train.preview import Preview
from napari_lungseg.widgets.train.settings_form import SettingsForm
from napari_lungseg.widgets.train.verdict import VerdictBox

if TYPE_CHECKING:
    from napari_lungseg.training.updates import EpochDone, Overview, Progress, StepDone

#: Value of the entry for a model without a base.
NEW = "new model"
NEW_CHOICE = ("A new model", NEW)


class TrainControls(QWidget):
    """Every control of the Train module.

    Parameters
    ----------
    choose : ChooseForm
        What to learn from.
    """

    def __init__(self, choose: ChooseForm) -> None:
        super().__init__()
        self.choose = choose
        self.base = ComboBox(label="Start from", choices=[], tooltip="The model to teach, from the library of models.")
        self.preset = ComboBox(label="Architecture", choices=list(PRESETS), value="small", tooltip="Of a new model.")
        self.device = ComboBox(label="Device", choices=["auto"], tooltip="Where it is trained; auto takes a GPU if there is one.")
        self.overview = wrapped()
        self.overview.setTextFormat(Qt.TextFormat.RichText)
        self.run = make_button("Train", "Teach the model; the one in use stays until you have accepted the new one.")
        self.pause = make_button("Pause", "Hold the training, or let it go on.")
        self.stop = make_button("Stop, keep the best", "End now, and compare the best epoch so far with the model before.")
        self.progress = QProgressBar()
        self.status = wrapped()
        self.curves = Curves()
        self.pictures = Pictures(columns=2)
        self.verdict = VerdictBox()
        self.settings = SettingsForm()
        self.augmentation = AugmentForm()
        self.preview = Preview()
        self.offer = wrapped()
        self.go_on = make_button("Go on", "Go on with the training that was not finished.")
        self.discard = make_button("Discard", "Remove the training that was not finished.")
        self._offer_box, self._form_box, self._run_box, self._more_box = QWidget(), QWidget(), QWidget(), QWidget()
        self._lay_out()
        self.show_defaults(new=False)

    def train_settings(self) -> TrainSettings:
        """All settings (InputError where they make no sense)."""
        return TrainSettings(**self.settings.values(), augmentation=self.augmentation.settings())

    def show_defaults(self, *, new: bool) -> None:
        """Show the settings that are meant for a new model, or for teaching one."""
        settings = TrainSettings() if new else TrainSettings.fine_tuning()
        self.settings.show_settings(settings)
        self.augmentation.show_settings(settings.augmentation)
        self._preset_form.setVisible(new)

    # ---- what is shown

    def tell(self, text: str) -> None:
        """Show a line of status."""
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def show_setup(self) -> None:
        """Nothing runs: show what can be chosen."""
        self._show(form=True)

    def show_running(self) -> None:
        """A run begins."""
        self.curves.clear()
        self.pictures.show_pictures([])
        self.pause.setText("Pause")
        for button in (self.pause, self.stop):
            button.setEnabled(True)
        self.progress.setRange(0, 0)
        self.progress.setFormat("")
        self._show(running=True)

    def show_verdict(self, end: Any) -> None:
        """A run has come to its end."""
        self.verdict.show_end(end)
        self._show(verdict=True)

    def _show(self, *, form: bool = False, running: bool = False, verdict: bool = False) -> None:
        self._form_box.setVisible(form)
        self._more_box.setVisible(form)
        self._run_box.setVisible(running)
        self.verdict.setVisible(verdict)
        self.run.setVisible(not verdict)
        self.run.setText("Cancel" if running else "Train")
        self.curves.setVisible(running or verdict)
        self.pictures.setVisible(running)

    def show_offer(self, text: str) -> None:
        """Offer to go on with a run; "" for none."""
        self.offer.setText(text)
        self._offer_box.setVisible(bool(text))

    def show_overview(self, told: Overview, seconds: float | None) -> None:
        """Show what there is to learn from, and how long it will take."""
        seen = ", ".join(f"{escape(name, quote=False)} on {count}" for name, count in told.classes.items())
        text = f"<b>{_count(told.cases, 'case')}, {_count(told.slices, 'slice')} annotated</b> ({seen})"
        if told.unjudged:
            text += f", {told.unjudged} not annotated"
        text += f".<br>{escape(told.split, quote=False)}"
        if seconds is not None:
            text += f"<br>{_long(seconds)} of training here at most."
        text += "".join(f"<br><b>Left out:</b> {escape(problem, quote=False)}" for problem in told.problems)
        self.overview.setText(text + "".join(f"<br>{escape(note, quote=False)}" for note in told.notes))

    def show_stage(self, stage: Progress) -> None:
        """Show what is being done beside learning."""
        self.progress.setRange(0, stage.total)
        self.progress.setValue(stage.done)
        self.progress.setFormat(f"{stage.text}: %v of %m" if stage.total else stage.text)
        self.tell(f"{stage.text} …")

    def show_step(self, step: StepDone, epochs: int | None) -> None:
        """Show how far the training is."""
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * step.progress))
        left = f" · {clock(step.seconds_left)} left" if step.seconds_left is not None else ""
        self.progress.setFormat(f"%p %{left}")
        of = "" if epochs is None else f" of {epochs}"
        self.tell(f"Epoch {step.epoch + 1}{of}, batch {step.epoch_step} of {step.epoch_steps}")
        self.curves.add_step(step)

    def show_epoch(self, done: EpochDone) -> None:
        """Show what an epoch has brought."""
        self.curves.add_epoch(done)
        picture = done.picture
        if picture is not None:
            caption = f"Epoch {done.epoch + 1}: Dice {picture.dice:.3f}"
            model = Picture(caption, picture.image, picture.prediction, picture.reference)
            self.pictures.show_pictures([Picture("Person", picture.image, picture.reference), model])

    # ---- how it lies

    def _lay_out(self) -> None:
        for combo in (self.base, self.preset, self.device):
            shorten(combo)
        emphasise(self.run)
        self._preset_form = form(self.preset)
        _column(self._offer_box, self.offer, _row(self.go_on, self.discard))
        _column(self._form_box, self.choose, form(self.base), self._preset_form, form(self.device), self.overview)
        _column(self._run_box, _row(self.pause, self.stop), self.progress)
        augmentation = QWidget()
        _column(augmentation, self.augmentation, self.preview)
        _column(self._more_box, folded("Settings", self.settings), folded("Augmentation", augmentation))
        inner = QWidget()
        parts = (
            self._offer_box,
            self._form_box,
            self.run,
            self._run_box,
            self.status,
            self.verdict,
            self.pictures,
            self.curves,
            self._more_box,
        )
        _column(inner, *parts, margins=(8, 4, 8, 4)).addStretch()
        fill(self, scrolled(inner))
        self.show_offer("")
        self.tell("")
        self.show_setup()


def _column(box: QWidget, *parts: QWidget, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> QVBoxLayout:
    layout = QVBoxLayout(box)
    layout.setContentsMargins(*margins)
    layout.setSpacing(6)
    for part in parts:
        layout.addWidget(part)
    return layout


def _row(*parts: QWidget) -> QWidget:
    box = QWidget()
    layout = QHBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    return box


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _long(seconds: float) -> str:
    return (
        f"About {seconds:.0f} s" if seconds < 90 else f"About {seconds / 60:.0f} min" if seconds < 5400 else f"About {seconds / 3600:.1f} h"
    )
