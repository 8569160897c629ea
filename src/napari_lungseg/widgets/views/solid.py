"""The surfaces of one viewer: made when they are wanted, put where they are seen, and put away among the slices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer
from qtpy.QtCore import QObject, QTimer, Signal

from napari_lungseg.translation import say
from napari_lungseg.volume import Affine, Array
from napari_lungseg.widgets.notices import show_error
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.view import displayed_time_index
from napari_lungseg.widgets.views.compass import known_directions_in
from napari_lungseg.widgets.views.surfaces import Shape, Surfaces, make_shape, shaping
from napari_lungseg.widgets.watch import MaskWatch
from napari_lungseg.widgets.worker import Failure

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import ViewerModel


class Solid(QObject):
    """Shows one mask as surfaces, in the window's own canvas or in one beside it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's own.
    """

    #: Surfaces are being made (True), or not any more.
    making = Signal(bool)
    #: They were made, or not: why, else empty.
    made = Signal(str)
    #: The mask is not any more what is shown.
    outdated = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        #: The viewer beside the window's own, if there is one, and whether they are to be seen there.
        self.beside: ViewerModel | None = None
        self.is_beside = False
        self._viewer = viewer
        self._surfaces = Surfaces()
        #: Whose they are, at which time point, and whether that has changed since they were begun.
        self._of: tuple[Labels, tuple[int, ...]] | None = None
        self._watch: MaskWatch | None = None
        self._making: Labels | None = None
        self._world: Affine | None = None
        self._task = Task(self, say("Making the surface"))
        self._task.yielded.connect(self._read)
        self._task.returned.connect(self._computed)
        self._task.failed.connect(self._failed)
        self._wanted: Labels | None = None
        #: What was to be seen among the slices, and at which point, before the surfaces were shown alone.
        self._before: tuple[list[Layer], tuple[float, ...]] | None = None
        viewer.layers.events.removed.connect(self._removed)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.layers.events.removed.disconnect(self._removed)
        self._forget()

    def show(self, mask: Labels) -> None:
        """Show a mask, at once or when its surfaces are made; :attr:`made` tells."""
        if self._watch is not None and self._making is None and self._of == (mask, displayed_time_index(self._viewer, mask)):
            self._stage()
            self.made.emit("")
            return
        self._wanted = mask
        if self._making is None:
            self._make(mask)

    def give_up(self) -> None:
        """Do not show what is being made."""
        self._wanted = None

    def put_away(self) -> None:
        """Take them out of the window's own viewer: among slices they would lend the sliders their own, finer steps."""
        _remove(self._viewer, self._surfaces.layers)
        if self._before is not None:
            (hidden, point), self._before = self._before, None
            for layer in hidden:
                layer.visible = True
            # napari's sliders lose their place while the steps become coarser, which they do only now.
            QTimer.singleShot(0, partial(self._return_to, point))

    # ---- making

    def _make(self, mask: Labels) -> None:
        self._making = mask
        time_index = displayed_time_index(self._viewer, mask)
        self._forget()
        # From now on, as the mask is copied some time later.
        self._of, self._watch = (mask, time_index), MaskWatch(self._viewer, mask, self._mask_changed)
        self.making.emit(True)
        self._task.run(shaping, mask, time_index)

    def _read(self, world: Affine) -> None:
        self._world = world

    def _computed(self, surfaces: list[tuple[int, Array, Array, Array]]) -> None:
        assert self._world is not None
        self._made([make_shape(*surface, self._world) for surface in surfaces])

    def _failed(self, text: str) -> None:
        self._made(Failure(text))

    def _made(self, shapes: list[Shape] | Failure) -> None:
        mask, self._making = self._making, None
        assert mask is not None
        wanted, self._wanted = self._wanted, None
        if wanted is not None and wanted != mask and wanted in self._viewer.layers:
            self._wanted = wanted
            self._make(wanted)
            return
        self.making.emit(False)
        if isinstance(shapes, Failure):
            self._forget()
            if not self.is_beside:
                show_error(shapes.text)
        elif mask in self._viewer.layers:
            before = self._surfaces.layers
            self._surfaces.take(mask, shapes)
            self._drop([layer for layer in before if layer not in self._surfaces.layers])
            if wanted is not None:
                self._stage()
        self.made.emit(shapes.text if isinstance(shapes, Failure) else "")
        if self._of is not None and self._watch is None:
            self.outdated.emit()

    # ---- where they are

    def _stage(self) -> None:
        """Put them where they are seen, and look from the front if there were none."""
        model: Any = self.beside if self.is_beside else self._viewer
        if not self.is_beside:
            # A layer is in one viewer at a time.
            if self.beside is not None:
                _remove(self.beside, self._surfaces.layers)
            self._be_alone()
        selected = model.layers.selection.active
        first = not any(layer in model.layers for layer in self._surfaces.layers)
        for layer in self._surfaces.layers:
            if layer not in model.layers:
                model.layers.append(layer)
        model.layers.selection.active = selected
        if first:
            # From the front, the head up.
            to_world = known_directions_in(self._viewer).T
            model.reset_view()
            model.scene.camera.set_view_direction(tuple(to_world @ (0.0, 1.0, 0.0)), tuple(to_world @ (0.0, 0.0, 1.0)))

    def _be_alone(self) -> None:
        """Hide everything else in the window's own canvas, and turn it to 3-D."""
        dims = self._viewer.dims
        if dims.ndisplay == 2:
            dims.order = range(dims.ndim)
            hidden = [layer for layer in self._viewer.layers if layer.visible]
            for layer in hidden:
                layer.visible = False
            self._before = hidden, dims.point
            dims.ndisplay = 3

    def _return_to(self, point: tuple[float, ...]) -> None:
        if len(point) == self._viewer.dims.ndim:
            self._viewer.dims.point = point

    # ---- what becomes of the mask

    def _mask_changed(self) -> None:
        self._watch = None
        if self._making is None:
            self.outdated.emit()

    def _removed(self, event: Any) -> None:
        """Nothing of a mask that was put away stays."""
        if self._of is not None and event.value == self._of[0]:
            self._forget()
            # Not while napari is still removing.
            QTimer.singleShot(0, partial(self._drop, self._surfaces.layers))
            self._surfaces = Surfaces()

    def _drop(self, layers: Sequence[Layer]) -> None:
        for model in (self._viewer, self.beside):
            if model is not None:
                _remove(model, layers)

    def _forget(self) -> None:
        self._of = None
        if self._watch is not None:
            self._watch.end()
            self._watch = None


def _remove(model: Any, layers: Sequence[Layer]) -> None:
    """Remove those layers that are there, at once: napari collects all garbage after each."""
    there = [layer for layer in layers if layer in model.layers]
    if there:
        with model.layers.batched_update():
            for layer in there:
                model.layers.remove(layer)
