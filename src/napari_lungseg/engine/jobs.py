"""The jobs that an engine knows, by name. Each is imported when it is first wanted."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

#: Module of this package and function. A function takes the :class:`~napari_lungseg.engine.control.Control` of its run and the arguments
#: of the call, and returns a value, or yields a stream of items and may return a value at the end.
JOBS = {
    "predict": ("segmenting", "predict_slices"),
    "mask": ("segmenting", "make_whole_mask"),
    "train": ("teaching", "train"),
    "count": ("teaching", "count"),
    "example": ("teaching", "find_example"),
    "views": ("teaching", "show_views"),
    "tool": ("correcting", "apply_tool"),
    "region": ("correcting", "find_regions"),
    "score": ("correcting", "score_slices"),
    "measure": ("measuring", "measure_mask"),
    "report": ("measuring", "report_mask"),
    "save surfaces": ("measuring", "save_surfaces"),
    "surfaces": ("measuring", "make_surfaces"),
    "compare": ("measuring", "compare_masks"),
    "compare readers": ("measuring", "compare_readers"),
}


def find_job(name: str) -> Callable[..., Any]:
    """The function of a job (KeyError for an unknown name)."""
    module, function = JOBS[name]
    found: Callable[..., Any] = getattr(import_module(f"napari_lungseg.engine.{module}"), function)
    return found
