"""A second viewer that shows the images and masks of the first: other layers, on the same voxels.

napari slices each layer for one viewer only, so every layer has a copy in the other one. The copies share the arrays of the originals; what
is done to an original is done to its copy, and what a person paints on a copy is told as if it had been painted on the original, which is
the one that knows how to undo it and how to save it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject
from superqt.utils import qthrottled

from napari_lungseg.volume import Box
from napari_lungseg.widgets.documents import documents_of
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import result_holding
from napari_lungseg.widgets.napari_compat import Strokes
from napari_lungseg.widgets.notices import show_info
from napari_lungseg.widgets.view import OUTSIDE

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import ViewerModel

#: What a copy has from its original: its place and its looks; and what may be changed on either.
_FROM_ORIGINAL = (
    "scale",
    "translate",
    "rotate",
    "shear",
    "affine",
    "units",
    "axis_labels",
    "colormap",
    "blending",
    "interpolation2d",
    "contour",
)
_BOTH_WAYS = (
    "visible",
    "opacity",
    "contrast_limits",
    "gamma",
    "selected_label",
    "brush_size",
    "n_edit_dimensions",
    "contiguous",
    "preserve_labels",
    "show_selected_label",
    "mode",
)
#: Milliseconds in which changes of voxels are gathered.
_SOON_MS = 40


class Mirror(QObject):
    """Keeps the layers of a viewer model like those of a viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's own.
    model : ViewerModel
        The other; all of its layers come from here.
    """

    def __init__(self, viewer: napari.viewer.Viewer, model: ViewerModel) -> None:
        super().__init__()
        self._viewer, self._model = viewer, model
        self._pairs: list[_Pair] = []
        self._stale: list[_Pair] = []
        self._started = self._looking = False
        self._refresh_soon = qthrottled(self._refresh, timeout=_SOON_MS, leading=False, parent=self)

    def start(self) -> None:
        """Have all layers, and follow them from now on; their voxels only while :meth:`look`ed at."""
        self._started = True
        for event, callback in self._events():
            event.connect(callback)
        documents_of(self._viewer).begun.connect(self._allow)
        self._follow()

    def look(self, looking: bool) -> None:
        """Whether the copies are seen now, and so have to be up to date."""
        self._looking = looking
        if looking:
            self._refresh()

    def close(self) -> None:
        """Let go of all layers."""
        if not self._started:
            return
        for event, callback in self._events():
            event.disconnect(callback)
        documents_of(self._viewer).begun.disconnect(self._allow)
        self._refresh_soon.cancel()
        for pair in self._pairs:
            pair.close()

    def _events(self) -> list[tuple[Any, Callable[..., None]]]:
        layers = self._viewer.layers
        return [
            *((getattr(layers.events, name), self._follow) for name in ("inserted", "removed", "reordered")),
            (layers.selection.events.active, self._select),
        ]

    def _follow(self, _: Any = None) -> None:
        """Have a copy of each image and mask, in the same order."""
        wanted = [layer for layer in self._viewer.layers if isinstance(layer, Image | Labels) and layer.ndim > 2]
        for pair in [pair for pair in self._pairs if pair.layer not in wanted]:
            self._pairs.remove(pair)
            pair.close()
            self._model.layers.remove(pair.copy)
        for index, layer in enumerate(wanted):
            known = next((pair for pair in self._pairs if pair.layer == layer), None)
            if known is None:
                self._pairs.append(_Pair(self._viewer, layer, self._changed))
                self._model.layers.insert(index, self._pairs[-1].copy)
            elif self._model.layers[index] != known.copy:
                self._model.layers.move(self._model.layers.index(known.copy), index)
        self._allow()
        self._select()

    def _select(self, _: Any = None) -> None:
        active = self._viewer.layers.selection.active
        self._model.layers.selection.active = next((pair.copy for pair in self._pairs if pair.layer == active), None)

    def _allow(self, _: Any = None) -> None:
        """Only what can be undone and saved through its original may be painted here."""
        for pair in self._pairs:
            if isinstance(pair.layer, Labels):
                pair.allow(pair.layer.editable and result_holding(self._viewer, pair.layer) is not None)

    def _changed(self, pair: _Pair) -> None:
        if pair not in self._stale:
            self._stale.append(pair)
        if self._looking:
            self._refresh_soon()

    def _refresh(self) -> None:
        stale, self._stale = self._stale, []
        for pair in stale:
            if pair in self._pairs:
                pair.copy.refresh(extent=False)


class _Pair:
    """A layer and its copy."""

    def __init__(self, viewer: napari.viewer.Viewer, layer: Layer, changed: Callable[[_Pair], None]) -> None:
        self.layer = layer
        self._viewer, self._changed = viewer, changed
        data, keywords, kind = layer.as_layer_data_tuple()
        # The metadata hold what belongs to the original alone.
        self.copy: Layer = Layer.create(data, keywords | {"metadata": {}}, kind)
        self._strokes: Strokes | None = None
        self._busy = False
        self._displayed = self._what_is_displayed()
        self._connections: list[tuple[Any, Callable[..., None]]] = [
            (layer.events.data, self._replace),
            (layer.events.set_data, self._sliced),
        ]
        for name in (*_FROM_ORIGINAL, *_BOTH_WAYS):
            if hasattr(layer, name) and hasattr(layer.events, name):
                self._connections.append((getattr(layer.events, name), partial(self._pass_on, name, layer, self.copy)))
                if name in _BOTH_WAYS:
                    self._connections.append((getattr(self.copy.events, name), partial(self._pass_on, name, self.copy, layer)))
                if name not in keywords:
                    self._pass_on(name, layer, self.copy)
        if isinstance(layer, Labels):
            self.copy.undo, self.copy.redo = lambda: layer.undo(), lambda: layer.redo()
            self._connections += [
                (layer.events.paint, self._tell_changed),
                (layer.events.labels_update, self._tell_changed),
            ]
            self._strokes = Strokes(self.copy, self._painted, lambda: show_info(tr(OUTSIDE, name=layer.name)))
        for event, callback in self._connections:
            event.connect(callback)

    def close(self) -> None:
        for event, callback in self._connections:
            event.disconnect(callback)
        if self._strokes is not None:
            self._strokes.close()

    def allow(self, editable: bool) -> None:
        """Let the copy be painted, or not."""
        self.copy.editable = editable
        self._pass_on("mode", self.layer, self.copy)

    def _pass_on(self, name: str, source: Layer, target: Layer, _: Any = None) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            setattr(target, name, getattr(source, name))
            if name == "visible" and isinstance(self.layer, Labels):
                # napari puts the brush down where nothing is to be seen.
                self.copy.mode = self.layer.mode
        finally:
            self._busy = False

    def _replace(self, _: Any = None) -> None:
        self.copy.data = self.layer.data

    def _tell_changed(self, _: Any = None) -> None:
        self._changed(self)

    def _sliced(self, _: Any = None) -> None:
        """The original shows other voxels: either another slice, which is nothing to the copy, or they were changed."""
        before, self._displayed = self._displayed, self._what_is_displayed()
        if before == self._displayed:
            self._changed(self)

    def _what_is_displayed(self) -> tuple[Any, ...]:
        dims = self._viewer.dims
        return dims.order, dims.ndisplay, tuple(dims.point[axis] for axis in dims.not_displayed), self.layer.visible

    def _painted(self, box: Box | None) -> bool:
        result = result_holding(self._viewer, self.layer)
        found = result is not None and result.take_up(box)
        if found:
            self.layer.refresh(extent=False)
        return found
