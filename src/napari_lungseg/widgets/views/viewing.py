"""What a window shows: a plane, the surfaces, or four views at once."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from napari.layers import Labels
from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import is_mask
from napari_lungseg.widgets.napari_compat import unwrapped
from napari_lungseg.widgets.notices import show_info
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.views.anatomy import plane_through, shown_axes, world_axes
from napari_lungseg.widgets.views.compass import Compass, directions_in, known_directions_in
from napari_lungseg.widgets.views.four_up import FourUp
from napari_lungseg.widgets.views.solid import Solid
from napari_lungseg.widgets.worker import sentence

if TYPE_CHECKING:
    import napari.viewer

NO_MASK = mark("There is no mask yet to be shown in 3-D: segment an image first, or add a labels layer.")
MAKING = mark("Making the surfaces …")
OPENING = mark("Opening the views …")
CHANGED = mark("The mask has changed since.")

_viewings: WeakKeyDictionary[Any, Viewing] = WeakKeyDictionary()


class View(StrEnum):
    """What can be chosen."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    SURFACES = "3-D"
    FOUR_UP = "four-up"


class Viewing(QObject):
    """How one viewer is looked at.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Which.
    """

    #: Another view is shown, or something else is to be said.
    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.text = ""
        self.solid = Solid(viewer)
        self.four_up: FourUp | None = None
        self._building: tuple[Stretches, FourUp] | None = None
        self._four_up_wanted = False
        self._compass = Compass(viewer, partial(directions_in, viewer))
        self._window: ReferenceType[QMainWindow] | None = None
        self.solid.making.connect(self._making)
        self.solid.made.connect(self._made)
        self.solid.outdated.connect(self._outdated)
        for event in self._events():
            # After napari itself, which moves the slices to where the camera was in 3-D.
            event.connect(self._turned, position="last")

    def follow(self, widget: QWidget) -> None:
        """Learn of the window from a widget that is docked in it."""
        window: Any = widget
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None and self._window is None:
            self._window = ref(window)
            window.installEventFilter(self)
            window.destroyed.connect(self.close)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Close the added views before their window is deleted, as canvases want it.

        A window is hidden once it is sure that it closes; before, somebody may still object.
        """
        if event.type() == QEvent.Type.Hide and not event.spontaneous():
            self._close_four_up()
        return bool(super().eventFilter(watched, event))

    def close(self) -> None:
        """Let go of the viewer."""
        if _viewings.pop(unwrapped(self.viewer), None) is None:
            return
        for event in self._events():
            event.disconnect(self._turned)
        self._close_four_up()
        self.solid.close()
        self._compass.close()

    def _events(self) -> list[Any]:
        dims = self.viewer.dims.events
        return [dims.ndisplay, dims.order, dims.ndim]

    # ---- which view

    @property
    def view(self) -> View | None:
        """What is shown now; None where the canvas shows time."""
        dims = self.viewer.dims
        if self.four_up is not None and self.four_up.shown:
            return View.FOUR_UP
        if dims.ndisplay == 3:
            return View.SURFACES
        if dims.ndim < 3:
            return View.AXIAL
        axes = shown_axes(dims.order, dims.ndisplay)
        return None if axes is None else View(plane_through(axes[0], known_directions_in(self.viewer)))

    def show(self, view: View) -> None:
        """Show something else."""
        self.solid.give_up()
        self._four_up_wanted = view is View.FOUR_UP
        if view is View.FOUR_UP:
            self._open_four_up()
        else:
            self._leave_four_up()
            if view is not View.SURFACES:
                self._show_plane(view)
            elif (mask := self._mask()) is not None:
                self.solid.show(mask)
            else:
                show_info(tr(NO_MASK))
        self.changed.emit()

    def _show_plane(self, view: View) -> None:
        dims = self.viewer.dims
        dims.ndisplay = 2
        if dims.ndim > 2:
            axes = world_axes(view, known_directions_in(self.viewer))
            dims.order = (*range(dims.ndim - 3), *(axis + dims.ndim - 3 for axis in axes))

    def _turned(self, _: Any = None) -> None:
        if self.viewer.dims.ndisplay == 2:
            self.solid.put_away()
        self.changed.emit()

    def _mask(self) -> Labels | None:
        """The mask that is selected, else the one on top."""
        masks = [layer for layer in self.viewer.layers if is_mask(layer) and layer.ndim > 2]
        active = self.viewer.layers.selection.active
        return active if active in masks else masks[-1] if masks else None

    # ---- what is to be said

    def _tell(self, text: str, offer: str = "") -> None:
        self.text = text if not offer else ""
        if self.four_up is not None and self.four_up.shown:
            self.four_up.tell(text, offer)
        self.changed.emit()

    def _making(self, begun: bool) -> None:
        self._tell(tr(MAKING) if begun else "")

    def _made(self, problem: str) -> None:
        # Four views say it where the surfaces would be, as a mask that is begun has none yet.
        self._tell(problem, tr("Show") if problem else "")

    def _outdated(self) -> None:
        if self.four_up is not None and self.four_up.shown:
            self._tell(tr(CHANGED), tr("Update"))

    # ---- four views

    def _open_four_up(self) -> None:
        window = None if self._window is None else self._window()
        if window is None:
            return
        if self.four_up is not None:
            self._show_four_up()
        elif self._building is None:
            self._tell(tr(OPENING))
            four_up = FourUp(self.viewer, window)
            four_up.wanted.connect(self._show_beside)
            stretches = Stretches(self)
            self._building = stretches, four_up
            stretches.start(four_up.build(), self._built, self._not_built)

    def _built(self) -> None:
        assert self._building is not None
        (_, self.four_up), self._building = self._building, None
        self._tell("")
        assert self.four_up is not None
        if self._four_up_wanted:
            self._show_four_up()
        else:
            self.four_up.hide()

    def _not_built(self, error: Exception) -> None:
        self._close_four_up()
        self._tell(sentence(error, say("Opening the four views")))

    def _show_four_up(self) -> None:
        assert self.four_up is not None
        self._show_plane(View.AXIAL)
        self.four_up.show()
        self.solid.beside, self.solid.is_beside = self.four_up.solid, True
        self.changed.emit()
        self._show_beside()

    def _show_beside(self) -> None:
        mask = self._mask()
        if mask is None:
            self._tell(tr("Surfaces of the mask, once there is one."), tr("Show"))
        else:
            self.solid.show(mask)

    def _leave_four_up(self) -> None:
        if self.four_up is not None and self.four_up.shown:
            self.four_up.hide()
            self.solid.is_beside = False

    def _close_four_up(self) -> None:
        if self._building is not None:
            building, half = self._building
            building.stop()
            half.close()
            self._building = None
        if self.four_up is not None:
            self._leave_four_up()
            self.solid.beside = None
            self.four_up.close()
            self.four_up = None


def viewing_of(viewer: napari.viewer.Viewer, widget: QWidget) -> Viewing:
    """How a viewer is looked at; ``widget`` is one of its modules, by which the window is found."""
    viewing = _viewings.get(unwrapped(viewer))
    if viewing is None:
        viewing = _viewings[unwrapped(viewer)] = Viewing(viewer)
    # A widget is docked only after it was made.
    QTimer.singleShot(0, partial(_follow, viewing, widget))
    return viewing


def _follow(viewing: Viewing, widget: QWidget) -> None:
    try:
        viewing.follow(widget)
    except RuntimeError:  # the widget is gone already
        return
