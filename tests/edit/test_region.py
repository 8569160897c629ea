import numpy as np
import pytest
from scipy import ndimage

from napari_lungseg.edit import region


@pytest.mark.parametrize("shape", [(40, 70, 90), (70, 90)])
def test_work_by_tiles_is_the_same_as_at_once(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "TILE_VOXELS", 16 ** len(shape))
    array = np.random.default_rng(0).integers(0, 100, shape)
    size = (5, 3, 7)[-len(shape) :]
    calls: list[tuple[int, int]] = []

    def work(part: np.ndarray) -> np.ndarray:
        return ndimage.maximum_filter(part, size, mode="nearest")

    by_tiles = region.by_tiles(work, array, tuple(one // 2 for one in size), lambda done, total: calls.append((done, total)))
    assert np.array_equal(by_tiles, work(array))
    assert len(calls) > 10
