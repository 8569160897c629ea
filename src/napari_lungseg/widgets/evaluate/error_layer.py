"""The layer that shows where a mask errs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_lungseg.metrics.evaluation import FALSE_NEGATIVE, FALSE_POSITIVE, OTHER_LABEL
from napari_lungseg.translation import mark
from napari_lungseg.widgets.evaluate.work import Comparison
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import ROLE, layer_geometry

if TYPE_CHECKING:
    import napari.viewer

NAME = mark("false positives and negatives")
MEANINGS = {FALSE_POSITIVE: mark("false positive"), FALSE_NEGATIVE: mark("false negative"), OTHER_LABEL: mark("other label")}
COLOURS = {FALSE_POSITIVE: "#ff4b4b", FALSE_NEGATIVE: "#ffd93b", OTHER_LABEL: "#c77dff"}


def show_errors(viewer: napari.viewer.Viewer, compared: Comparison) -> Labels:
    """Show the errors on top, in the reference's place; the layer of an earlier comparison is replaced."""
    before = [layer for layer in viewer.layers if layer.metadata.get(ROLE) == "errors"]
    visible = all(layer.visible for layer in before)
    active = viewer.layers.selection.active
    for layer in before:
        viewer.layers.remove(layer)
    geometry = layer_geometry(compared.reference)
    layer = viewer.add_labels(
        compared.errors,
        name=tr(NAME),
        colormap=DirectLabelColormap(color_dict={0: "transparent", None: "transparent"} | COLOURS),
        features={"index": [0, *MEANINGS], tr("error"): [None, *map(tr, MEANINGS.values())]},
        opacity=0.8,
        visible=visible,
        **geometry | {"metadata": geometry.get("metadata", {}) | {ROLE: "errors"}},
    )
    layer.editable = False
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    return layer
