"""How much there is to learn from and how long it will take, found out in the background whenever something changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.train.materials import Materials
from napari_lungseg.widgets.train.run import why
from napari_lungseg.widgets.worker import Failed

if TYPE_CHECKING:
    from napari_lungseg.training.settings import TrainSettings
    from napari_lungseg.training.updates import Overview, Progress


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be told."""

    materials: Materials
    base: str | None
    preset: str
    settings: TrainSettings
    device: str

    @property
    def pace(self) -> tuple[Any, ...]:
        """On what the time depends."""
        return self.base, self.preset, self.settings, self.device


@dataclass(frozen=True)
class Estimate:
    """The longest time a run takes here, in seconds."""

    seconds: float


class Counting(QObject):
    """Answers the last question that was asked; one that comes meanwhile takes the place of the one before."""

    #: A Progress, an Overview, an Estimate or Failed.
    told = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: Question | None = None
        self._left: threading.Event | None = None
        self._paces: dict[tuple[Any, ...], Estimate] = {}

    def ask(self, question: Question) -> None:
        """Count anew."""
        self._waiting = question
        if self._left is not None:
            self._left.set()
        else:
            self._start()

    def leave(self) -> None:
        """No answer is wanted any more."""
        self._waiting = None
        if self._left is not None:
            self._left.set()

    def _start(self) -> None:
        question, self._waiting = self._waiting, None
        if question is None:
            return
        self._left = threading.Event()
        worker = create_worker(_answer, question, self._paces, self._left)
        worker.yielded.connect(self._arrived)
        worker.finished.connect(self._finished)
        worker.start()

    def _arrived(self, told: Any) -> None:
        if self._left is not None and not self._left.is_set():
            self.told.emit(told)

    def _finished(self) -> None:
        self._left = None
        self._start()


def _answer(
    question: Question, paces: dict[tuple[Any, ...], Estimate], left: threading.Event
) -> Iterator[Progress | Overview | Estimate | Failed]:
    try:
        from napari_lungseg.device import one_core_free
        from napari_lungseg.training.prepare import look_over
        from napari_lungseg.training.train import estimate_seconds

        for told in look_over(question.materials.open(), base=question.base, settings=question.settings):
            if left.is_set():
                return
            yield told
        if question.pace not in paces:
            with one_core_free():
                paces[question.pace] = Estimate(estimate_seconds(question.settings, question.base, question.preset, question.device))
        yield paces[question.pace]
    except Exception as error:
        yield Failed(why(error, "Counting what there is to learn from"))
