"""The Train module: a better model from corrected slices, by one button."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QShowEvent
from superqt.utils import qdebounced

from napari_lungseg.errors import InputError
from napari_lungseg.library import user_folder
from napari_lungseg.predicted import Notice
from napari_lungseg.training.updates import EpochDone, Finished, Int8Tried, Overview, Progress, StepDone
from napari_lungseg.translation import say
from napari_lungseg.widgets.forms import fill_module
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.model_choice import LIBRARY, ModelChoice
from napari_lungseg.widgets.notices import show_error, show_warning
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.train.accepting import accept, roll_back
from napari_lungseg.widgets.train.controls import NEW, TrainControls
from napari_lungseg.widgets.train.counting import Counting, CountRequest, Estimate
from napari_lungseg.widgets.train.input_form import ChooseForm
from napari_lungseg.widgets.train.train_run import TrainJob, TrainRun, discard, free_name, unfinished_runs
from napari_lungseg.widgets.worker import Failure

if TYPE_CHECKING:
    import napari.viewer

#: Milliseconds for which nothing must change before it is counted anew what there is to learn from.
REST_MS = 400


class TrainWidget(Panel):
    """Teach a model what was corrected, and choose between the two.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: A run has ended, or it is settled what becomes of its model. The text says what went wrong, and is empty if nothing did.
    idle = Signal(str)
    #: It is told what there is to learn from, or why there is nothing.
    counted = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.choose = ChooseForm(viewer, session_of(viewer, self))
        self.controls = TrainControls(self.choose)
        self.overview: Overview | None = None
        self.end: Finished | None = None
        self._int8 = ""
        self._run: TrainRun | None = None
        self._epochs: int | None = None
        self._unfinished: list[Path] = []
        self._counting = Counting(self)
        self._finding = Task(self, say("Looking for runs that were not finished"))
        self._discarding = Task(self, say("Discarding a run"))
        self._settling = Task(self, say("Settling what becomes of the model"))
        self._later = qdebounced(self._count, timeout=REST_MS, parent=self)
        self._base = ModelChoice(self.controls.base, self.controls.device, self, [(tr("A new model"), NEW)])
        fill_module(self, self.controls)
        self._connect()
        self._later()
        self._find_unfinished()

    def _connect(self) -> None:
        controls = self.controls
        self._base.failed.connect(controls.tell)
        self._base.changed.connect(self._base_changed)
        self._counting.told.connect(self._told)
        self._finding.returned.connect(self._offer)
        self._discarding.returned.connect(self._find_unfinished)
        self._discarding.failed.connect(self._not_discarded)
        self._settling.returned.connect(self._settled)
        self._settling.failed.connect(self._not_settled)
        self.choose.changed.connect(self._input_changed)
        for control in (controls.preset, controls.device):
            control.changed.connect(self._later)
        controls.settings.changed.connect(self._later)
        controls.augmentation.changed.connect(controls.preview.refresh)
        controls.preview.wanted.connect(self._preview)
        for button, slot in (
            (controls.run, self._pressed),
            (controls.pause, self._pause),
            (controls.stop, self._stop),
            (controls.go_on, self._go_on),
            (controls.discard, self._discard),
        ):
            button.clicked.connect(slot)
        controls.verdict.accepted.connect(self._accept)
        controls.verdict.rolled_back.connect(self._roll_back)

    @property
    def base(self) -> str | None:
        """Name or folder of the model to start from; None for a new one."""
        return None if self._base.chosen == NEW else self._base.chosen

    # ---- what there is to learn from

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Only a module that is seen looks what there is."""
        super().showEvent(event)
        self._later()
        self._find_unfinished()

    def _base_changed(self, _: str) -> None:
        self.controls.show_defaults(new=self.base is None)
        self._input_changed()

    def _input_changed(self) -> None:
        self.controls.preview.forget()
        self._later()

    def _count(self) -> None:
        if self._run is not None or self.end is not None or not self.isVisibleTo(self.window()):
            return
        try:
            chosen, settings = self.choose.chosen(), self.controls.train_settings()
        except InputError as error:
            self._counting.leave()
            self._told(Failure(tr(str(error))))
            return
        self._counting.ask(CountRequest(chosen, self.base, self.controls.preset.value, settings, self.controls.device.value))

    def _told(self, told: Any) -> None:
        controls = self.controls
        if isinstance(told, Progress):
            if told.total > 1:
                controls.overview.setText(
                    tr("{stage}: {done} of {total} …", stage=escape(tr(told.text), quote=False), done=told.done, total=told.total)
                )
        elif isinstance(told, Failure):
            self.overview = None
            controls.overview.setText(escape(told.text, quote=False))
            self.counted.emit()
        elif isinstance(told, Overview):
            self.overview = told
            controls.show_overview(told, None)
        elif self.overview is not None:
            assert isinstance(told, Estimate)
            controls.show_overview(self.overview, told.seconds)
            self.counted.emit()

    def _preview(self) -> None:
        try:
            chosen, settings = self.choose.chosen(), self.controls.augmentation.settings()
        except InputError as error:
            self.controls.preview.tell(tr(str(error)))
        else:
            self.controls.preview.show_views(chosen, self.base, settings)

    # ---- running

    def _pressed(self) -> None:
        if self._run is not None:
            self._run.cancel()
            return
        controls = self.controls
        try:
            chosen, settings = self.choose.chosen(), controls.train_settings()
        except InputError as error:
            show_error(tr(str(error)))
            return
        folder = user_folder() / free_name(self.base)
        self._start(TrainJob(folder, controls.device.value, chosen, self.base, controls.preset.value, settings), settings.epochs)

    def _start(self, job: TrainJob, epochs: int | None = None) -> None:
        self._counting.leave()
        self._epochs, self._int8 = epochs, ""
        self._run = run = TrainRun(job)
        run.updated.connect(self._updated)
        run.ended.connect(self._ended)
        run.released.connect(self._find_unfinished)
        self.controls.show_offer("")
        self.controls.show_running()
        run.start()

    def _updated(self, update: Any) -> None:
        controls = self.controls
        if isinstance(update, Progress):
            controls.show_stage(update)
        elif isinstance(update, StepDone):
            controls.show_step(update, self._epochs)
        elif isinstance(update, EpochDone):
            controls.show_epoch(update)
        elif isinstance(update, Notice):
            show_warning(tr(update.text))
        elif isinstance(update, Finished):
            self.end = update
            for button in (controls.stop, controls.pause):
                button.setEnabled(False)
        elif isinstance(update, Int8Tried):
            self._int8 = tr(update.text)

    def _pause(self) -> None:
        assert self._run is not None
        paused = not self._run.paused
        self._run.pause(paused)
        self.controls.pause.setText(tr("Resume") if paused else tr("Pause"))
        if paused:
            self.controls.tell(tr("Paused."))

    def _stop(self) -> None:
        assert self._run is not None
        self._run.stop()
        for button in (self.controls.stop, self.controls.pause):
            button.setEnabled(False)
        self.controls.tell(tr("Stopping: the best epoch so far is compared with the model before …"))

    def _ended(self, reason: str | Failure | None) -> None:
        self._run = None
        text = reason.text if isinstance(reason, Failure) else reason or ""
        if isinstance(reason, Failure):
            show_error(text)
        elif self.end is not None:
            # What was cancelled after the end is the network in int8 alone.
            text = ""
        self.controls.tell(text or self._int8)
        if self.end is not None:
            self.controls.show_verdict(self.end)
        else:
            self.controls.show_setup()
            self._later()
        self.idle.emit(text)

    # ---- the new model or the old one

    def _accept(self, wanted: str) -> None:
        assert self.end is not None
        self._settle(say("Accepting {name}", name=self.end.name), accept, self.end.name, wanted or self.end.name)

    def _roll_back(self) -> None:
        assert self.end is not None
        self._settle(say("Removing {name}", name=self.end.name), roll_back, self.end.name)

    def _settle(self, what: str, function: Callable[..., str], *names: str) -> None:
        self.controls.verdict.setEnabled(False)
        self._settling.what = what
        self._settling.run(function, *names)

    def _not_settled(self, text: str) -> None:
        self.controls.verdict.setEnabled(True)
        show_error(text)
        self.idle.emit(text)

    def _settled(self, name: str) -> None:
        self.controls.verdict.setEnabled(True)
        self.end = None
        self.controls.show_setup()
        self.controls.tell(
            tr("{name} is chosen in Segment now.", name=name) if name else tr("The new model was removed; the one before stays in use.")
        )
        LIBRARY.changed.emit(name)
        self._later()
        self.idle.emit("")

    # ---- runs that were not finished

    def _find_unfinished(self) -> None:
        self._finding.run(unfinished_runs)

    def _offer(self, folders: list[Path]) -> None:
        self._unfinished = folders
        name = folders[0].name if folders and self._run is None and self.end is None else ""
        self.controls.show_offer(tr("The training of {name} was not finished. Go on with it?", name=name) if name else "")

    def _go_on(self) -> None:
        if self._unfinished and self._run is None:
            self._start(TrainJob(self._unfinished[0], self.controls.device.value))

    def _discard(self) -> None:
        if self._unfinished:
            self._discarding.run(discard, self._unfinished[0])

    def _not_discarded(self, text: str) -> None:
        show_error(text)
        self._find_unfinished()

    def let_go(self) -> None:
        """End a run with the window or the dock; its checkpoint stays."""
        self._counting.leave()
        if self._run is not None:
            self._run.ended.disconnect()
            self._run.cancel()
