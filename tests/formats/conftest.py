"""CT series as scanners write them, in DICOM, small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_ct_slice, write_multi_frame

WriteFile = Callable[..., Path]


@pytest.fixture
def write_slice() -> WriteFile:
    """Writes one CT slice; keywords replace or (None) remove DICOM attributes."""
    return write_ct_slice


@pytest.fixture
def write_series() -> Callable[..., np.ndarray]:
    """Writes slices into a folder in shuffled names, InstanceNumbers reversed; returns the HU in the order of positions."""

    def write(folder: Path, heights: list[float], **attributes: Any) -> np.ndarray:
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(1)
        hu = rng.integers(-1000, 500, (len(heights), 4, 6))
        for place, index in enumerate(rng.permutation(len(heights))):
            where = (-20.0, -10.0, heights[index])
            write_ct_slice(folder / f"IM{place:03d}.dcm", hu[index], where, InstanceNumber=len(heights) - int(index), **attributes)
        return hu

    return write


@pytest.fixture
def write_enhanced() -> WriteFile:
    """Writes slices into one enhanced multi-frame file, each frame with its own slope and intercept."""
    return write_multi_frame


@pytest.fixture
def little_memory():
    """So little that a promise of gigabytes cannot be kept."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc/self/statm").exists() else 0
    if not used:
        pytest.skip("how much memory is in use is not told here")
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
