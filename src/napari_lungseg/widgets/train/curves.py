"""The curves of a run: loss and Dice, of training and of validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import NO_CURVES, wrapped
from napari_lungseg.widgets.language import tr

if TYPE_CHECKING:
    from napari_lungseg.training.updates import EpochDone, StepDone

HEIGHT = 118
TRAINING, VALIDATION, BATCH = "#4aa8ff", "#ffb13d", "#7a8490"
COLOURS = {mark("training"): TRAINING, mark("validation"): VALIDATION, mark("each batch"): BATCH}


class Curves(QWidget):
    """Two plots over the epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.points: dict[str, tuple[list[float], list[float]]] = {}
        self._lines: dict[str, Any] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        try:
            import pyqtgraph
        except ImportError:
            layout.addWidget(wrapped(tr(NO_CURVES)))
            return
        layout.addWidget(QLabel(" ".join(f'<span style="color:{colour}">■</span> {tr(name)}' for name, colour in COLOURS.items())))
        loss, dice = (pyqtgraph.PlotWidget(background=None) for _ in range(2))
        for plot, title in ((loss, tr("Loss")), (dice, tr("Dice"))):
            plot.setFixedHeight(HEIGHT)
            plot.setMinimumWidth(1)
            plot.setLabel("left", title)
            plot.getAxis("left").setWidth(52)
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.showGrid(x=False, y=True, alpha=0.2)
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            layout.addWidget(plot)
        dice.setLabel("bottom", tr("Epoch"))
        dice.setFixedHeight(HEIGHT + 30)
        dice.setXLink(loss)
        for name, plot, colour, width in (
            ("batch loss", loss, BATCH, 1),
            ("training loss", loss, TRAINING, 2),
            ("validation loss", loss, VALIDATION, 2),
            ("training Dice", dice, TRAINING, 2),
            ("validation Dice", dice, VALIDATION, 2),
        ):
            symbol = None if name == "batch loss" else "o"
            pen = pyqtgraph.mkPen(colour, width=width)
            self._lines[name] = plot.plot(pen=pen, symbol=symbol, symbolSize=4, symbolBrush=colour, symbolPen=None)
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        names = ("batch loss", "training loss", "validation loss", "training Dice", "validation Dice")
        self.points = {name: ([], []) for name in names}
        for line in self._lines.values():
            line.setData([], [])

    def add_step(self, done: StepDone) -> None:
        """A batch has been learnt from."""
        self._add("batch loss", done.epoch + done.epoch_step / done.epoch_steps, done.loss)

    def add_epoch(self, done: EpochDone) -> None:
        """An epoch has ended."""
        epoch = done.epoch + 1.0
        for name, scores in (("training", done.train), ("validation", done.validation)):
            if scores is not None:
                self._add(f"{name} loss", epoch, scores.loss)
                self._add(f"{name} Dice", epoch, scores.mean_dice)

    def _add(self, name: str, x: float, y: float) -> None:
        xs, ys = self.points[name]
        # The last batch of an epoch is told again while the epoch is scored.
        if (xs and xs[-1] == x) or y != y:
            return
        xs.append(x)
        ys.append(y)
        if name in self._lines:
            self._lines[name].setData(xs, ys)
