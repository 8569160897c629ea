"""The correction tools: functions from labels to new labels, on a slice or a volume, without a window."""

from napari_lungseg.edit.editable import Limits, allowed, restrict
from napari_lungseg.edit.follow import fill_between_by_image
from napari_lungseg.edit.interpolate import fill_between
from napari_lungseg.edit.islands import keep_island, keep_largest, relabel_island, remove_island, remove_small, split_islands
from napari_lungseg.edit.logic import combine, copy_slice, crop_to_box, split_left_right
from napari_lungseg.edit.margin import grow, shrink
from napari_lungseg.edit.seeds import grow_from_seeds
from napari_lungseg.edit.smooth import fill_holes, smooth, smooth_joint

__all__ = [
    "Limits",
    "allowed",
    "combine",
    "copy_slice",
    "crop_to_box",
    "fill_between",
    "fill_between_by_image",
    "fill_holes",
    "grow",
    "grow_from_seeds",
    "keep_island",
    "keep_largest",
    "relabel_island",
    "remove_island",
    "remove_small",
    "restrict",
    "shrink",
    "smooth",
    "smooth_joint",
    "split_islands",
    "split_left_right",
]
