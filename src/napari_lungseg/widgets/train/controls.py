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
from napari_lungseg.widgets.language import tr, tr_all, tr_n
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
        self.base = ComboBox(label=tr("Start from"), choices=[], tooltip=tr("The model to teach, from the library of models."))
        self.preset = ComboBox(label=tr("Architecture"), choices=list(PRESETS), value="small", tooltip=tr("Of a new model."))
        self.device = ComboBox(
            label=tr("Device"), choices=[(tr("auto"), "auto")], tooltip=tr("Where it is trained; auto takes a GPU if there is one.")
        )
        self.overview = wrapped()
        self.overview.setTextFormat(Qt.TextFormat.RichText)
        self.run = make_button(tr("Train"), tr("Teach the model; the one in use stays until you have accepted the new one."))
        self.pause = make_button(tr("Pause"), tr("Hold the training, or let it go on."))
        self.stop = make_button(tr("Stop, keep the best"), tr("End now, and compare the best epoch so far with the model before."))
        self.progress = QProgressBar()
        self.status = wrapped()
        self.curves = Curves()
        self.pictures = Pictures(columns=2)
        self.verdict = VerdictBox()
        self.settings = SettingsForm()
        self.augmentation = AugmentForm()
        self.preview = Preview()
        self.offer = wrapped()
        self.go_on = make_button(tr("Go on"), tr("Go on with the training that was not finished."))
        self.discard = make_button(tr("Discard"), tr("Remove the training that was not finished."))
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
        self.status.setText(tr(text))
        self.status.setVisible(bool(text))

    def show_setup(self) -> None:
        """Nothing runs: show what can be chosen."""
        self._show(form=True)

    def show_running(self) -> None:
        """A run begins."""
        self.curves.clear()
        self.pictures.show_pictures([])
        self.pause.setText(tr("Pause"))
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
        self.run.setText(tr("Cancel") if running else tr("Train"))
        self.curves.setVisible(running or verdict)
        self.pictures.setVisible(running)

    def show_offer(self, text: str) -> None:
        """Offer to go on with a run; "" for none."""
        self.offer.setText(text)
        self._offer_box.setVisible(bool(text))

    def show_overview(self, told: Overview, seconds: float | None) -> None:
        """Show what there is to learn from, and how long it will take."""
        seen = tr_all(tr("{name} on {count}", name=tr(name), count=count) for name, count in told.classes.items())
        cases = tr_n("{count} case", "{count} cases", told.cases)
        slices = tr_n("{count} slice annotated", "{count} slices annotated", told.slices)
        text = tr("<b>{cases}, {slices}</b> ({seen})", cases=cases, slices=slices, seen=_html(seen))
        if told.unjudged:
            text += tr(", {count} not annotated", count=told.unjudged)
        text = f"{tr('{head}.', head=text)}<br>{_html(tr(told.split))}"
        if seconds is not None:
            text += "<br>" + tr("{time} of training here at most.", time=_long(seconds))
        left_out = f"<br><b>{tr('Left out:')}</b> "
        text += "".join(left_out + _html(tr(problem)) for problem in told.problems)
        self.overview.setText(text + "".join(f"<br>{_html(tr(note))}" for note in told.notes))

    def show_stage(self, stage: Progress) -> None:
        """Show what is being done beside learning."""
        self.progress.setRange(0, stage.total)
        self.progress.setValue(stage.done)
        text = tr(stage.text)
        self.progress.setFormat(tr("{stage}: {done} of {total}", stage=text, done="%v", total="%m") if stage.total else text)
        self.tell(f"{text} …")

    def show_step(self, step: StepDone, epochs: int | None) -> None:
        """Show how far the training is."""
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * step.progress))
        left = tr(" · {time} left", time=clock(step.seconds_left)) if step.seconds_left is not None else ""
        self.progress.setFormat(f"%p %{left}")
        epoch = tr("Epoch {number}", number=step.epoch + 1)
        if epochs is not None:
            epoch = tr("Epoch {number} of {total}", number=step.epoch + 1, total=epochs)
        self.tell(tr("{epoch}, batch {number} of {total}", epoch=epoch, number=step.epoch_step, total=step.epoch_steps))
        self.curves.add_step(step)

    def show_epoch(self, done: EpochDone) -> None:
        """Show what an epoch has brought."""
        self.curves.add_epoch(done)
        picture = done.picture
        if picture is not None:
            caption = tr("Epoch {number}: Dice {dice:.3f}", number=done.epoch + 1, dice=picture.dice)
            model = Picture(caption, picture.image, picture.prediction, picture.reference)
            self.pictures.show_pictures([Picture(tr("Person"), picture.image, picture.reference), model])

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
        _column(self._more_box, folded(tr("Settings"), self.settings), folded(tr("Augmentation"), augmentation))
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


def _long(seconds: float) -> str:
    if seconds < 90:
        return tr("About {seconds:.0f} s", seconds=seconds)
    return tr("About {minutes:.0f} min", minutes=seconds / 60) if seconds < 5400 else tr("About {hours:.1f} h", hours=seconds / 3600)


def _html(text: str) -> str:
    return escape(text, quote=False)
