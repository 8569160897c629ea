"""What a window shows: a plane, the surfaces, or four views at once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from napari.layers import Labels, Layer, Surface
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.lookup import is_mask, viewer_key
from napari_lungseg.widgets.stretches import Stretches
from napari_lungseg.widgets.view import displayed_step
from napari_lungseg.widgets.views.anatomy import UPRIGHT, plane_through, world_axes
from napari_lungseg.widgets.views.compass import Compass, directions_in
from napari_lungseg.widgets.views.four_up import FourUp
from napari_lungseg.widgets.views.surfaces import Shape, Surfaces, shaping
from napari_lungseg.widgets.watch import MaskWatch
from napari_lungseg.widgets.worker import Failed

if TYPE_CHECKING:
    import napari.viewer

NO_MASK = "There is no mask yet to be shown in 3-D: segment an image first, or add a labels layer."
MAKING = "Making the surfaces …"
OPENING = "Opening the views …"
CHANGED = "The mask has changed since."

_viewings: dict[int, Viewing] = {}


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
    #: Surfaces were made, or not: why, else empty.
    shaped = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.text = ""
        self.surfaces = Surfaces()
        self.four_up: FourUp | None = None
        self._building: tuple[Stretches, FourUp] | None = None
        self._four_up_wanted = False
        self._compass = Compass(viewer, partial(directions_in, viewer))
        self._window: ReferenceType[QMainWindow] | None = None
        #: Whose surfaces there are, and whether they are still true.
        self._of: tuple[Labels, tuple[int, ...]] | None = None
        self._watch: MaskWatch | None = None
        self._making = False
        self._wanted = False
        #: What was to be seen among the slices, and at which point, before the surfaces were shown alone.
        self._before: tuple[list[Layer], tuple[float, ...]] | None = None
        for event in self._events():
            # After napari itself, which moves the slices to where the camera was in 3-D.
            event.connect(self._turned, position="last")
        viewer.layers.events.removed.connect(self._removed)

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
        if _viewings.pop(viewer_key(self.viewer), None) is None:
            return
        for event in self._events():
            event.disconnect(self._turned)
        self.viewer.layers.events.removed.disconnect(self._removed)
        self._forget()
        self._close_four_up()
        self._compass.close()

    def _close_four_up(self) -> None:
        if self._building is not None:
            building, half = self._building
            building.stop()
            half.close()
            self._building = None
        if self.four_up is not None:
            self.four_up.close()
            self.four_up = None

    def _events(self) -> list[Any]:
        dims = self.viewer.dims.events
        return [dims.ndisplay, dims.order, dims.ndim]

    # ---- which view

    @property
    def view(self) -> View:
        """What is shown now."""
        dims = self.viewer.dims
        if self.four_up is not None and self.four_up.shown:
            return View.FOUR_UP
        if dims.ndisplay == 3:
            return View.SURFACES
        return View.AXIAL if dims.ndim < 3 else View(plane_through(dims.order[-3] - dims.ndim + 3, self._directions()))

    def show(self, view: View) -> None:
        """Show something else."""
        self._wanted = False
        self._four_up_wanted = view is View.FOUR_UP
        if view is View.SURFACES:
            self._leave_four_up()
            self._show_surfaces_of(self._mask())
        elif view is View.FOUR_UP:
            self._show_four_up()
        else:
            self._leave_four_up()
            self._show_plane(view)
        self.changed.emit()

    def _directions(self) -> Any:
        directions = directions_in(self.viewer)
        return UPRIGHT if directions is None else directions

    def _show_plane(self, view: View) -> None:
        dims = self.viewer.dims
        dims.ndisplay = 2
        if dims.ndim > 2:
            dims.order = (*range(dims.ndim - 3), *(axis + dims.ndim - 3 for axis in world_axes(view, self._directions())))

    def _turned(self, _: Any = None) -> None:
        if self.viewer.dims.ndisplay == 2:
            self._put_away()
        self.changed.emit()

    # ---- surfaces

    def show_shapes(self, mask: Labels, step: tuple[int, ...], shapes: list[Shape]) -> None:
        """Show surfaces that were made of a mask: in the four views where these are shown, else alone."""
        self._forget()
        before = self.surfaces.layers
        self.surfaces.take(mask, shapes)
        self._drop([layer for layer in before if layer not in self.surfaces.layers])
        self._of = mask, step
        self._watch = MaskWatch(self.viewer, mask, self._mask_changed)
        self._stage()

    def _mask(self) -> Labels | None:
        """The mask that is selected, else the one on top."""
        masks = [layer for layer in self.viewer.layers if is_mask(layer) and layer.ndim > 2]
        active = self.viewer.layers.selection.active
        return active if active in masks else masks[-1] if masks else None

    def _show_surfaces_of(self, mask: Labels | None) -> None:
        if mask is None:
            show_info(NO_MASK)
            return
        step = displayed_step(self.viewer, mask)
        if self._watch is not None and self._of == (mask, step):
            self._stage()
            return
        self._wanted = True
        if self._making:
            return
        self._making = True
        self._tell(MAKING)
        worker = create_worker(shaping, mask, step)
        worker.returned.connect(partial(self._made, mask, step))
        worker.start()

    def _made(self, mask: Labels, step: tuple[int, ...], made: list[Shape] | Failed) -> None:
        self._making = False
        self._tell("")
        if isinstance(made, Failed):
            show_error(made.text)
        elif self._wanted and mask in self.viewer.layers:
            self.show_shapes(mask, step, made)
        self._wanted = False
        self.changed.emit()
        self.shaped.emit(made.text if isinstance(made, Failed) else "")

    def _models(self) -> list[Any]:
        """All viewers in which surfaces may be."""
        return [self.viewer, *([] if self.four_up is None else [self.four_up.solid])]

    def _stage(self) -> None:
        """Put the surfaces where they are seen, and look at them from the front if there were none."""
        model: Any = self.viewer
        if self.four_up is not None and self.four_up.shown:
            model = self.four_up.solid
            self.four_up.tell("")
        else:
            if self.four_up is not None:
                _remove(self.four_up.solid, self.surfaces.layers)
            if model.dims.ndisplay == 2:
                model.dims.order = range(model.dims.ndim)
                hidden = [layer for layer in model.layers if layer.visible]
                for layer in hidden:
                    layer.visible = False
                self._before = hidden, model.dims.point
                model.dims.ndisplay = 3
        selected = model.layers.selection.active
        first = not any(layer in model.layers for layer in self.surfaces.layers)
        for layer in self.surfaces.layers:
            if layer not in model.layers:
                model.layers.append(layer)
        model.layers.selection.active = selected
        if first:
            self._face(model)

    def _face(self, model: Any) -> None:
        """Look from the front, the head up."""
        directions = self._directions()
        model.reset_view()
        model.scene.camera.set_view_direction(tuple(directions.T @ (0.0, 1.0, 0.0)), tuple(directions.T @ (0.0, 0.0, 1.0)))

    def _put_away(self) -> None:
        """Among slices all is as before; surfaces would also lend the sliders their own, finer steps."""
        _remove(self.viewer, self.surfaces.layers)
        if self._before is not None:
            (hidden, point), self._before = self._before, None
            for layer in hidden:
                layer.visible = True
            # napari's sliders lose their place while the steps become coarser, which they do only now.
            QTimer.singleShot(0, partial(self._return_to, point))

    def _return_to(self, point: tuple[float, ...]) -> None:
        if len(point) == self.viewer.dims.ndim:
            self.viewer.dims.point = point

    def _mask_changed(self) -> None:
        self._watch = None
        if self.four_up is not None and self.four_up.shown:
            self.four_up.tell(CHANGED, "Update")

    def _removed(self, event: Any) -> None:
        """Nothing of a mask that was put away stays."""
        if self._of is not None and event.value == self._of[0]:
            self._forget()
            # Not while napari is still removing.
            QTimer.singleShot(0, partial(self._drop, self.surfaces.layers))
            self.surfaces = Surfaces()
            self._of = None

    def _drop(self, layers: list[Surface]) -> None:
        for model in self._models():
            _remove(model, layers)

    def _forget(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    # ---- four views

    def _show_four_up(self) -> None:
        window = None if self._window is None else self._window()
        if window is None:
            return
        if self.four_up is not None:
            self._show_built()
        elif self._building is None:
            self._tell(OPENING)
            four_up = FourUp(self.viewer, window, partial(directions_in, self.viewer))
            four_up.wanted.connect(self._update)
            stretches = Stretches(self)
            self._building = stretches, four_up
            stretches.start(four_up.build(), self._built)

    def _built(self) -> None:
        assert self._building is not None
        (_, self.four_up), self._building = self._building, None
        self._tell("")
        if self._four_up_wanted:
            self._show_built()

    def _show_built(self) -> None:
        assert self.four_up is not None
        self._show_plane(View.AXIAL)
        self.four_up.show()
        self.changed.emit()
        mask = self._mask()
        if mask is None:
            self.four_up.tell("Surfaces of the mask, once there is one.", "Show")
        else:
            self._show_surfaces_of(mask)

    def _update(self) -> None:
        self._show_surfaces_of(self._mask())

    def _leave_four_up(self) -> None:
        if self.four_up is not None:
            self.four_up.hide()

    def _tell(self, text: str) -> None:
        self.text = text
        if self.four_up is not None and self.four_up.shown:
            self.four_up.tell(text)
        self.changed.emit()


def _remove(model: Any, layers: Sequence[Layer]) -> None:
    """Remove those layers that are there, at once: napari collects all garbage after each."""
    there = [layer for layer in layers if layer in model.layers]
    if there:
        with model.layers.batched_update():
            for layer in there:
                model.layers.remove(layer)


def viewing_of(viewer: napari.viewer.Viewer, widget: QWidget) -> Viewing:
    """How a viewer is looked at; ``widget`` is one of its modules, by which the window is found."""
    viewing = _viewings.get(viewer_key(viewer))
    if viewing is None:
        viewing = _viewings[viewer_key(viewer)] = Viewing(viewer)
    # A widget is docked only after it was made.
    QTimer.singleShot(0, partial(_follow, viewing, widget))
    return viewing


def _follow(viewing: Viewing, widget: QWidget) -> None:
    try:
        viewing.follow(widget)
    except RuntimeError:  # the widget is gone already
        return
