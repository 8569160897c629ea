from __future__ import annotations

import dask.array
import numpy as np
import pytest
import zarr

from napari_lungseg import content
from napari_lungseg.content import content_hash
from napari_lungseg.errors import InputError

ARRAY = np.random.default_rng(0).integers(-1000, 1000, (9, 7, 5)).astype(np.int16)


def test_an_image_is_known_however_it_lies_in_memory(tmp_path):
    on_disk = np.memmap(tmp_path / "a.raw", np.int16, "w+", shape=ARRAY.shape)
    on_disk[:] = ARRAY
    stored = zarr.create_array(tmp_path / "a.zarr", data=ARRAY, chunks=(4, 3, 5))
    for same in (
        np.asfortranarray(ARRAY),
        ARRAY.astype(">i2"),
        np.repeat(ARRAY, 2, axis=2)[..., ::2],
        on_disk,
        dask.array.from_array(ARRAY, chunks=(2, 7, 3)),
        stored,
    ):
        assert content_hash(same) == content_hash(ARRAY)


def test_another_voxel_shape_or_type_is_another_image():
    one = ARRAY.copy()
    one[-1, -1, -1] += 1
    others = [one, ARRAY.reshape(7, 9, 5), ARRAY.astype(np.int32), ARRAY.view(np.uint16), ARRAY[:-1]]
    assert len({content_hash(array) for array in (ARRAY, *others)}) == len(others) + 1


def test_slabs_make_no_difference(monkeypatch):
    expected = content_hash(ARRAY)
    monkeypatch.setattr(content, "_SLAB_BYTES", 1)
    assert content_hash(ARRAY) == expected


def test_no_chunk_of_a_lazy_image_is_made_twice():
    made = []

    def make(block_info):
        place = block_info[None]["array-location"]
        made.append(place[0])
        return ARRAY[tuple(slice(*part) for part in place)]

    lazy = dask.array.map_blocks(make, chunks=((4, 4, 1), (7,), (5,)), dtype=ARRAY.dtype, meta=ARRAY[:0])
    assert content_hash(lazy) == content_hash(ARRAY)
    assert sorted(made) == [(0, 4), (4, 8), (8, 9)]


def test_a_slice_is_an_image_too():
    assert content_hash(ARRAY[0]) != content_hash(ARRAY[:1])


@pytest.mark.parametrize("labels", [np.array([0.5]), np.array([-1]), np.array([np.nan]), np.array(["a"])])
def test_what_is_no_label_is_refused(labels):
    with pytest.raises(InputError, match="whole numbers"):
        content.plain_labels(labels)


def test_labels_take_the_smallest_type():
    for array, dtype in ((np.array([0.0, 2.0]), np.uint8), (np.array([True]), np.uint8), (np.array([300], ">i4"), np.uint16)):
        plain = content.plain_labels(array)
        assert plain.dtype == dtype
        np.testing.assert_array_equal(plain, array)
