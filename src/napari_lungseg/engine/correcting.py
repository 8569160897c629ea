"""Jobs of an engine: correction tools on whole volumes, what strokes mean, and the scores by which slices are reviewed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from napari_lungseg.edit.stroke import FoundRegion, Stroke, regions
from napari_lungseg.edit.tool import Change, Work, carry_out
from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.engine.control import Control
from napari_lungseg.review import measure_slices
from napari_lungseg.volume import Array

#: Seconds between two reports of progress.
REPORT_S = 0.1


def apply_tool(control: Control, name: str, work: Work) -> Change | None:
    """Carry out a tool of :data:`~napari_lungseg.edit.tools.TOOLS`; reports steps done and steps in all."""
    reported = 0.0

    def report(done: int, total: int) -> None:
        nonlocal reported
        control.check()
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            control.report((done, total))

    return carry_out(TOOLS[name], replace(work, progress=report))


def find_regions(control: Control, stroke: Stroke) -> Iterator[FoundRegion]:
    """Find the region that a stroke means: on its slice, then in the volume."""
    for region in regions(stroke):
        control.check()
        yield region


def score_slices(
    control: Control, labels: Array, percent: Array | None, spacing: tuple[float, ...], axis: int, slices: Sequence[int]
) -> Array:
    """Expected error, in mm², of slices of a mask; the arguments are as for :func:`~napari_lungseg.review.measure_slices`."""
    return measure_slices(labels, spacing, percent, axis=axis, slices=slices).expected_error_mm2()
