"""The row of buttons that choose what the window shows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_lungseg.translation import mark
from napari_lungseg.widgets.forms import wrapped
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.views.viewing import View, viewing_of

if TYPE_CHECKING:
    import napari.viewer

_TITLES = {
    View.AXIAL: mark("Axial"),
    View.CORONAL: mark("Coronal"),
    View.SAGITTAL: mark("Sagittal"),
    View.SURFACES: mark("3-D"),
    View.FOUR_UP: mark("Four-up"),
}
_HINTS = {
    View.AXIAL: mark("Slices seen from the feet: the patient's right is on the left."),
    View.CORONAL: mark("Slices seen from the front: the head is on top, the patient's right on the left."),
    View.SAGITTAL: mark("Slices seen from the side: the head is on top, the front on the left."),
    View.SURFACES: mark("The mask as surfaces, seen from the front; drag to turn."),
    View.FOUR_UP: mark("The three planes and the surfaces at once. Move the mouse with Shift held, and all follow."),
}


class ViewRow(QWidget):
    """Buttons for the views.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewing = viewing_of(viewer, self)
        self.buttons = {view: QPushButton(tr(_TITLES[view])) for view in View}
        self.status = wrapped()
        row = QHBoxLayout()
        row.setSpacing(2)
        for view, button in self.buttons.items():
            button.setCheckable(True)
            button.setToolTip(tr(_HINTS[view]))
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.setStyleSheet("padding: 3px 2px")
            button.clicked.connect(partial(self._press, view))
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 8, 4)
        layout.setSpacing(2)
        layout.addLayout(row)
        layout.addWidget(self.status)
        self._viewing.changed.connect(self._show)
        self._show()

    def _press(self, view: View, _: bool = False) -> None:
        self._viewing.show(view)

    def _show(self) -> None:
        viewing = self._viewing
        for view, button in self.buttons.items():
            button.setChecked(view is viewing.view)
            button.setEnabled(view is View.AXIAL or viewing.viewer.dims.ndim > 2)
        self.status.setText(viewing.text)
        self.status.setVisible(bool(viewing.text))
