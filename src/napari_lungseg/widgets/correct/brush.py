"""The brush in millimetres: the module's controls and the mask's own settings say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, FloatSpinBox
from napari.layers import Labels
from qtpy.QtWidgets import QPushButton

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.layers import volume_from_layer

if TYPE_CHECKING:
    import napari.viewer


class Brush:
    """Couples mode, diameter and shape of the brush to a label layer, both ways.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is painted.
    modes : dict
        A button for each of napari's modes that are offered.
    diameter : FloatSpinBox
        In mm; in pixels where no size is known.
    sphere : CheckBox
        Whether the brush paints neighbouring slices too.
    region : QPushButton
        Checked while strokes find regions, for which napari has no mode of its own.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        modes: dict[str, QPushButton],
        diameter: FloatSpinBox,
        sphere: CheckBox,
        region: QPushButton,
    ) -> None:
        self._viewer = viewer
        self._region = region
        region.toggled.connect(lambda _: self._show_mode())
        self._modes, self._diameter, self._sphere = modes, diameter, sphere
        self._layer: Labels | None = None
        for mode, button in modes.items():
            button.clicked.connect(lambda _=False, mode=mode: self._set_mode(mode))
        diameter.changed.connect(self.fit)
        sphere.changed.connect(self._set_sphere)

    def hold(self, layer: Labels | None) -> None:
        """Couple another layer; None for none."""
        if self._layer is not None:
            for event, callback in self._events(self._layer):
                event.disconnect(callback)
        self._layer = layer
        for control in (*self._modes.values(), self._diameter.native, self._sphere.native):
            control.setEnabled(layer is not None)
        if layer is not None:
            for event, callback in self._events(layer):
                event.connect(callback)
            self._sphere.enabled = layer.ndim > 2
            self._show_sphere()
            self._show_size()
        self._show_mode()

    def fit(self) -> None:
        """Give the layer's brush the diameter; napari counts it in the smallest of the pixel's sides that are painted."""
        if self._layer is not None and self._layer.brush_size != (size := self._size()):
            self._layer.brush_size = size

    def _events(self, layer: Labels) -> list[tuple[Any, Any]]:
        dims = self._viewer.dims.events
        return [
            (layer.events.mode, self._show_mode),
            (layer.events.brush_size, self._show_size),
            (layer.events.n_edit_dimensions, self._show_sphere),
            (layer.events.scale, self.fit),
            (dims.order, self.fit),
            (dims.ndisplay, self.fit),
        ]

    def _size(self) -> int:
        # napari's brushes are an odd number of pixels wide.
        return 2 * max(0, round((self._diameter.value / self._pixel() - 1) / 2)) + 1

    def _pixel(self) -> float:
        """The smallest side, in mm, of a voxel along the axes that are painted."""
        layer = self._layer
        assert layer is not None
        try:
            spacing = volume_from_layer(layer, (), "arbitrary").spacing
        except InputError:
            return 1.0
        missing = self._viewer.dims.ndim - layer.ndim
        order = [axis - missing for axis in self._viewer.dims.order if axis >= missing]
        painted = [axis - layer.ndim for axis in order[-layer.n_edit_dimensions :]]
        return min(spacing[axis] for axis in painted if axis >= -len(spacing))

    def _set_mode(self, mode: str) -> None:
        assert self._layer is not None
        self._viewer.layers.selection.active = self._layer
        if mode == "polygon":
            self._layer.n_edit_dimensions = 2  # napari has no other polygons
        self._layer.mode = mode
        self._show_mode()

    def _set_sphere(self, wanted: bool) -> None:
        if self._layer is not None:
            self._layer.n_edit_dimensions = 3 if wanted else 2

    def _show_mode(self) -> None:
        for mode, button in self._modes.items():
            button.setChecked(self._layer is not None and self._layer.mode == mode and not self._region.isChecked())

    def _show_size(self) -> None:
        assert self._layer is not None
        if self._size() != self._layer.brush_size:
            with self._diameter.changed.blocked():
                self._diameter.value = round((2 * (self._layer.brush_size // 2) + 1) * self._pixel(), 1)

    def _show_sphere(self) -> None:
        assert self._layer is not None
        with self._sphere.changed.blocked():
            self._sphere.value = self._layer.n_edit_dimensions > 2
        self.fit()
