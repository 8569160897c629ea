"""The dock: one module at a time, chosen on top, as in 3D Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from napari_lungseg.translation import mark
from napari_lungseg.widgets.correct.widget import CorrectWidget
from napari_lungseg.widgets.evaluate.widget import EvaluateWidget
from napari_lungseg.widgets.forms import add_row, labelled_form
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.measure.widget import MeasureWidget
from napari_lungseg.widgets.review.widget import ReviewWidget
from napari_lungseg.widgets.saving.bar import WorkspaceBar
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.segment.widget import SegmentWidget
from napari_lungseg.widgets.train.widget import TrainWidget
from napari_lungseg.widgets.views.row import ViewRow

if TYPE_CHECKING:
    import napari.viewer

#: Every module: its name and its widget, in the order of work.
MODULES: dict[str, type[QWidget]] = {
    mark("Segment"): SegmentWidget,
    mark("Correct"): CorrectWidget,
    mark("Review"): ReviewWidget,
    mark("Train"): TrainWidget,
    mark("Evaluate"): EvaluateWidget,
    mark("Measure"): MeasureWidget,
}


class LungSegmentation(QWidget):
    """All modules of the plugin in one dock.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._built: dict[str, QWidget] = {}
        self._stack = QStackedWidget()
        self.module = ComboBox(label=tr("Module"), choices=[(tr(name), name) for name in MODULES])
        # Else napari puts a stretch below, which takes most of the height from the second dock on.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = labelled_form()
        form.setContentsMargins(8, 6, 8, 6)
        add_row(form, self.module)
        layout.addLayout(form)
        self.views = ViewRow(viewer)
        layout.addWidget(self.views)
        layout.addWidget(self._stack, stretch=1)
        self.workspace = WorkspaceBar(session_of(viewer, self))
        layout.addWidget(self.workspace)
        self.module.changed.connect(self.open)
        self.open(self.module.value)

    def open(self, name: str) -> QWidget:
        """Show a module, built when it is first needed, and return its widget."""
        if name not in self._built:
            self._built[name] = MODULES[name](self._viewer)
            self._stack.addWidget(self._built[name])
        self._stack.setCurrentWidget(self._built[name])
        self.module.value = name
        return self._built[name]
