"""What the augmentation makes of a slice that is to be learnt from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.forms import wrapped
from napari_lungseg.widgets.train.materials import Materials
from napari_lungseg.widgets.train.pictures import Picture, Pictures
from napari_lungseg.widgets.train.run import why
from napari_lungseg.widgets.worker import Failed

if TYPE_CHECKING:
    from napari_lungseg.training.augmentation import AugmentSettings
    from napari_lungseg.training.samples import LabelledSlice

#: How many views are shown at once, and their side in pixels; all of the slice is seen.
VIEWS, SIDE = 4, 200
FIELD_MM = 420.0


@dataclass(frozen=True, eq=False)
class Example:
    """A slice to show, and which of its classes is lung."""

    materials: Materials
    item: LabelledSlice
    lung: int | None


class Preview(QWidget):
    """Four chance views of one slice; a changed setting shows the same chances anew."""

    #: Views are wanted: the module is to call :meth:`show_views`.
    wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.another = QPushButton("Show examples")
        self.pictures = Pictures(columns=2)
        self._trouble = wrapped()
        self._seed = -VIEWS
        self._example: Example | None = None
        self._busy = self._again = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        for part in (self.another, self._trouble, self.pictures):
            layout.addWidget(part)
        self._trouble.setVisible(False)
        self.another.clicked.connect(self._next)

    def forget(self) -> None:
        """Something else is to be learnt from."""
        self._example = None

    def refresh(self) -> None:
        """Settings have changed."""
        if self._seed >= 0:
            self.wanted.emit()

    def show_views(self, materials: Materials, base: str | None, settings: AugmentSettings) -> None:
        """Show what the settings do to a slice."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        worker = create_worker(_views, materials, base, settings, self._seed, self._example)
        worker.returned.connect(self._arrived)
        worker.start()

    def tell(self, text: str) -> None:
        """Say why there is nothing to show."""
        self._trouble.setText(text)
        self._trouble.setVisible(bool(text))

    def _next(self) -> None:
        self._seed += VIEWS
        self.another.setText("Others")
        self.wanted.emit()

    def _arrived(self, made: tuple[Example, list[Picture]] | Failed) -> None:
        self._busy = False
        if isinstance(made, Failed):
            self.tell(made.text)
        else:
            self.tell("")
            self._example, pictures = made
            self.pictures.show_pictures(pictures)
        if self._again:
            self._again = False
            self.wanted.emit()


def _views(
    materials: Materials, base: str | None, settings: AugmentSettings, seed: int, example: Example | None
) -> tuple[Example, list[Picture]] | Failed:
    try:
        from napari_lungseg.training.augmentation.view import preview

        example = example or _example(materials, base)
        pictures = []
        for number in range(VIEWS):
            image, label = preview(example.item, settings, FIELD_MM / SIDE, seed + number, size=SIDE, lung=example.lung)
            pictures.append(Picture("", image, label))
        return example, pictures
    except Exception as error:
        return Failed(why(error, "The preview"))


def _example(materials: Materials, base: str | None) -> Example:
    """The judged slice of the first case on which most is labelled."""
    from napari_lungseg.card import read_card
    from napari_lungseg.library import CARD_FILE, find_model
    from napari_lungseg.preprocess import Preprocessing
    from napari_lungseg.training.plan import choose_classes
    from napari_lungseg.training.samples import IGNORE, slices_of
    from napari_lungseg.training.sources import TrainingCase

    card = None if base is None else read_card(find_model(base) / CARD_FILE)
    source = materials.open()
    for case in source:
        if not isinstance(case, TrainingCase):
            continue
        preprocessing = Preprocessing() if card is None else card.preprocessing
        judged = [item for item in slices_of(case.key, case.image, case.labels, preprocessing, 0) if item.classes]
        if judged:
            item = max(judged, key=lambda one: int(((one.label > 0) & (one.label != IGNORE)).sum()))
            classes = choose_classes({label: source.names.get(label, "") for label in item.classes}, card, keep_old=True)
            lung = 1 if classes.sides else None
            return Example(materials, replace(item, label=classes.index(item.label)), lung)
    raise InputError("There is no judged slice with a label yet: correct or review one first.")
