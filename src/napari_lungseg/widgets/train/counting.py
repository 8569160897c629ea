"""How much there is to learn from and how long it will take, found out in the background whenever something changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_lungseg.library import find_model
from napari_lungseg.places import is_address
from napari_lungseg.translation import say
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.train.chosen_input import ChosenInput
from napari_lungseg.widgets.worker import Failure

if TYPE_CHECKING:
    from napari_lungseg.training.settings import TrainSettings


@dataclass(frozen=True, eq=False)
class CountRequest:
    """What is to be told."""

    chosen: ChosenInput
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
    """The longest time a run takes here, in seconds; None where it is trained elsewhere."""

    seconds: float | None


class Counting(QObject):
    """Answers the last request; one that comes meanwhile takes the place of the one before."""

    #: A Progress, an Overview, an Estimate or Failure.
    told = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._asked: CountRequest | None = None
        self._paces: dict[tuple[Any, ...], float] = {}
        self._task = Task(self, say("Counting what there is to learn from"))
        self._task.yielded.connect(self.told)
        self._task.returned.connect(self._timed)
        self._task.failed.connect(self._failed)

    def ask(self, request: CountRequest) -> None:
        """Count anew."""
        self._asked = request
        self._task.run(_request, request, request.pace not in self._paces and not is_address(request.device))

    def leave(self) -> None:
        """No answer is wanted any more."""
        self._task.forget()

    def _timed(self, seconds: float | None) -> None:
        assert self._asked is not None
        if seconds is not None:
            self._paces[self._asked.pace] = seconds
        self.told.emit(Estimate(self._paces.get(self._asked.pace)))

    def _failed(self, text: str) -> None:
        self.told.emit(Failure(text))


def _request(request: CountRequest, timed: bool) -> Request:
    base = None if request.base is None else str(find_model(request.base))
    return Request("count", (request.chosen.read(), base, request.preset, request.settings, request.device, timed))
