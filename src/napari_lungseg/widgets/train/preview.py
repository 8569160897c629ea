"""What the augmentation makes of a slice that is to be learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_lungseg.library import find_model
from napari_lungseg.translation import say
from napari_lungseg.volume import Array
from napari_lungseg.widgets.forms import make_button, wrapped
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.train.chosen_input import ChosenInput
from napari_lungseg.widgets.train.pictures import Picture, Pictures

if TYPE_CHECKING:
    from napari_lungseg.training.augmentation import AugmentSettings
    from napari_lungseg.training.samples import LabelledSlice

#: How many views are shown at once, and their side in pixels; all of the slice is seen.
VIEWS, SIDE = 4, 200
FIELD_MM = 420.0


class Preview(QWidget):
    """Four chance views of one slice; a changed setting shows the same chances anew."""

    #: Views are wanted: the module is to call :meth:`show_views`.
    wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.another = make_button(tr("Show examples"), tr("Slices as the model will see them, each shown as it is and augmented."))
        self.pictures = Pictures(columns=2)
        self._trouble = wrapped()
        self._seed = -VIEWS
        self._example: tuple[LabelledSlice, int | None, tuple[str, ...]] | None = None
        self._settings: AugmentSettings | None = None
        self._task, self._views = Task(self, say("The preview")), Task(self, say("The preview"))
        self._task.returned.connect(self._found)
        self._views.returned.connect(self._arrived)
        for task in (self._task, self._views):
            task.failed.connect(self.tell)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        for part in (self.another, self._trouble, self.pictures):
            layout.addWidget(part)
        self._trouble.setVisible(False)
        self.another.clicked.connect(self._next)

    def forget(self) -> None:
        """Something else is to be learnt from."""
        self._example = None
        self._task.forget()

    def refresh(self) -> None:
        """Settings have changed."""
        if self._seed >= 0:
            self.wanted.emit()

    def show_views(self, chosen: ChosenInput, base: str | None, settings: AugmentSettings) -> None:
        """Show what the settings do to a slice."""
        self._settings = settings
        if self._example is None:
            self._task.run(_request_example, chosen, base)
        else:
            self._show()

    def _found(self, example: tuple[LabelledSlice, int | None, tuple[str, ...]]) -> None:
        self._example = example
        self._show()

    def _show(self) -> None:
        assert self._example is not None
        assert self._settings is not None
        self._views.ask("views", *self._example, self._settings, self._seed, VIEWS, SIDE, FIELD_MM / SIDE)

    def tell(self, text: str) -> None:
        """Say why there is nothing to show."""
        self._trouble.setText(text)
        self._trouble.setVisible(bool(text))

    def _next(self) -> None:
        self._seed += VIEWS
        self.another.setText(tr("Others"))
        self.wanted.emit()

    def _arrived(self, views: list[tuple[Array, Array]]) -> None:
        self.tell("")
        self.pictures.show_pictures([Picture("", image, label) for image, label in views])


def _request_example(chosen: ChosenInput, base: str | None) -> Request:
    return Request("example", (chosen.read(), None if base is None else find_model(base)))
