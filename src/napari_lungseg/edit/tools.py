"""All correction tools by name: what each asks for, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from napari_lungseg import edit
from napari_lungseg.edit.tool import Parameter, Tool, Work
from napari_lungseg.errors import InputError
from napari_lungseg.translation import mark, say
from napari_lungseg.volume import Array, Box

METHODS = [mark("median"), mark("opening"), mark("closing"), mark("gaussian")]
OPERATIONS = [mark("union"), mark("intersection"), mark("difference"), mark("xor")]


def _neighbour(offset: int) -> Callable[[Work], Array]:
    """Copy from the slice that is ``offset`` slices away."""

    def copy(work: Work) -> Array:
        if work.index is None or work.volume.ndim == 2:
            raise InputError(say("A single slice has no neighbour to copy from; use a volume of several slices."))
        if not 0 <= work.index + offset < work.volume.shape[work.axis]:
            if offset < 0:
                raise InputError(say("There is no slice before the first; go to another slice."))
            raise InputError(say("There is no slice after the last; go to another slice."))
        source = work.volume.array.take(work.index + offset, work.axis)
        label = None if work.values["all_labels"] else work.label
        return edit.copy_slice(np.stack([source, work.labels]), 0, 0, 1, label)[1]

    return copy


def _mm(value: float, tooltip: str) -> Mapping[str, Parameter]:
    return {"mm": Parameter("Distance (mm)", tooltip, value, {"min": 0.1, "max": 100.0, "step": 0.5})}


_ALL_LABELS = {"all_labels": Parameter("All labels", "Else only the label that is chosen above.", False)}

#: Every tool by its name, in the order in which they are offered.
TOOLS: dict[str, Tool] = {
    "fill_between": Tool(
        "Between slices",
        "Fill between slices",
        "Draw the label on some slices, also far apart; the slices between are filled.",
        lambda work: edit.fill_between(work.labels, work.label, work.axis, work.spacing, progress=work.progress),
        scopes=("volume",),
    ),
    "fill_between_by_image": Tool(
        "Between slices",
        "Fill between by image",
        "Draw the label on some slices; it is moved into those between as the image moves. Slower, and nearer to what can be seen.",
        lambda work: edit.fill_between_by_image(work.labels, _image(work), work.label, work.axis, work.spacing, progress=work.progress),
        scopes=("volume",),
        needs_image=True,
    ),
    "copy_previous": Tool(
        "Between slices",
        "Copy the previous slice",
        "This slice takes the label from the slice before it.",
        _neighbour(-1),
        _ALL_LABELS,
        scopes=("slice",),
    ),
    "copy_next": Tool(
        "Between slices",
        "Copy the next slice",
        "This slice takes the label from the slice after it.",
        _neighbour(1),
        _ALL_LABELS,
        scopes=("slice",),
    ),
    "keep_largest": Tool(
        "Islands",
        "Keep largest islands",
        "Everything of the label but its largest connected parts becomes background.",
        lambda work: edit.keep_largest(work.labels, work.label, work.values["count"]),
        {"count": Parameter("How many", "So many parts stay.", 1, {"min": 1, "max": 99})},
    ),
    "keep_island": Tool(
        "Islands",
        "Keep clicked island",
        "Of the clicked label only the clicked part stays.",
        lambda work: edit.keep_island(work.labels, _at(work)),
        picks=True,
    ),
    "remove_island": Tool(
        "Islands",
        "Remove clicked island",
        "The clicked part becomes background.",
        lambda work: edit.remove_island(work.labels, _at(work)),
        picks=True,
    ),
    "relabel_island": Tool(
        "Islands",
        "Relabel clicked island",
        "The clicked part gets the label that is chosen above.",
        lambda work: edit.relabel_island(work.labels, _at(work), work.label),
        picks=True,
    ),
    "remove_small": Tool(
        "Islands",
        "Remove small islands",
        "Parts below this volume become background.",
        lambda work: edit.remove_small(work.labels, work.label, work.values["smallest_ml"], work.voxel_mm),
        {"smallest_ml": Parameter("Smallest (mL)", "Smaller parts are removed.", 1.0, {"min": 0.001, "max": 1e5, "step": 0.1})},
    ),
    "split_islands": Tool(
        "Islands",
        "Split islands into labels",
        "The largest part keeps its label; every other part gets a new one.",
        lambda work: edit.split_islands(work.labels, work.label),
    ),
    "fill_holes": Tool(
        "Holes and smoothing",
        "Fill holes",
        "Background that the label encloses becomes the label.",
        lambda work: edit.fill_holes(work.labels, work.label),
    ),
    "smooth": Tool(
        "Holes and smoothing",
        "Smooth",
        "Smooth the label's boundary; other labels stay.",
        lambda work: edit.smooth(work.labels, work.label, work.values["method"], work.values["mm"], work.spacing, work.progress),
        {
            "method": Parameter(
                "Method",
                "Median and Gaussian round off; opening removes what is thin; closing fills gaps.",
                "median",
                {"choices": METHODS},
            ),
            "mm": Parameter("Radius (mm)", "Details smaller than this go.", 3.0, {"min": 0.1, "max": 50.0, "step": 0.5}),
        },
    ),
    "smooth_joint": Tool(
        "Holes and smoothing",
        "Smooth all together",
        "Labels that touch still touch afterwards, without gap or overlap.",
        lambda work: edit.smooth_joint(work.labels, work.values["mm"], work.spacing, work.progress),
        {"mm": Parameter("Strength (mm)", "Standard deviation of the Gaussian.", 2.0, {"min": 0.1, "max": 50.0, "step": 0.5})},
    ),
    "grow": Tool(
        "Grow and shrink",
        "Grow",
        "The label extends into the background.",
        lambda work: edit.grow(work.labels, work.label, work.values["mm"], work.spacing, work.progress),
        _mm(2.0, mark("The label grows by so much on all sides.")),
    ),
    "shrink": Tool(
        "Grow and shrink",
        "Shrink",
        "The label's rim becomes background.",
        lambda work: edit.shrink(work.labels, work.label, work.values["mm"], work.spacing, work.progress),
        _mm(2.0, mark("The label shrinks by so much on all sides.")),
    ),
    "grow_from_seeds": Tool(
        "Grow and shrink",
        "Grow from seeds",
        "Draw some of every structure, and of what is around them with a label of its own; they grow to the edges in the image.",
        lambda work: edit.grow_from_seeds(work.labels, _image(work), work.spacing, work.values["around"] or None, progress=work.progress),
        {"around": Parameter("Label around", "Drawn around the structures; becomes background. 0: none.", 3, {"min": 0, "max": 127})},
        needs_image=True,
    ),
    "split_left_right": Tool(
        "Split and combine",
        "Split right and left",
        "The label is split into the right lung (1) and the left lung (2).",
        lambda work: edit.split_left_right(work.volume.with_array(work.labels), None if work.values["all_labels"] else work.label),
        {"all_labels": replace(_ALL_LABELS["all_labels"], value=True)},
        scopes=("volume",),
    ),
    "combine": Tool(
        "Split and combine",
        "Combine with a layer",
        "The label is combined with the same label of another layer on the same grid.",
        lambda work: edit.combine(work.labels, _other(work), work.values["how"], work.label),
        {
            "other": Parameter("With", "Another label layer."),
            "how": Parameter(
                "How", "Keep what is in either, in both, only in this layer, or in just one.", "union", {"choices": OPERATIONS}
            ),
        },
    ),
    "crop": Tool(
        "Crop",
        "Crop to a rectangle",
        "What lies outside a rectangle of a shapes layer becomes background.",
        lambda work: edit.crop_to_box(work.labels, _region(work), None if work.values["all_labels"] else work.label),
        {
            "shapes": Parameter("Rectangle in", "A shapes layer; its selected shape counts, or else its last one."),
            "all_labels": replace(_ALL_LABELS["all_labels"], value=True),
        },
    ),
}


def _at(work: Work) -> tuple[int, ...]:
    assert work.at is not None
    return work.at


def _image(work: Work) -> Array:
    return np.asarray(work.image)


def _other(work: Work) -> Array:
    if work.other is None:
        raise InputError(say("There is no other label layer to combine with; add or duplicate one first."))
    return np.asarray(work.other)


def _region(work: Work) -> Box:
    if work.region is None:
        raise InputError(say("There is no rectangle to crop to; add a shapes layer and draw one over the image."))
    return work.region
