"""Imported weights of lungmask in the window: chosen, run, thresholded, corrected, saved and exported as models of this package are."""

from __future__ import annotations

import numpy as np
import pytest
from lungmask_files import write_weights
from napari.layers import Labels

from napari_lungseg.formats import read
from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import FOLDER_VARIABLE, import_model
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
from napari_lungseg.widgets.writers import save_layer

NAMES = ["left upper lobe", "left lower lobe", "right upper lobe", "right middle lobe", "right lower lobe"]
CT = sample_ct().crop((slice(10, 13), slice(None), slice(None)))
SHOWN = 1


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> str:
    """The library with lobes and lungs in it, as the terminal imports them."""
    folder = tmp_path_factory.mktemp("lungmask")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder / "library"))
        for name, classes in (("lobes", 6), ("lungs", 3)):
            import_model(write_weights(folder / f"{name}.pth", classes))
    return str(folder / "library")


@pytest.fixture
def desk(open_desk, imported, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, imported)
    desk = open_desk(CT, model="lobes")
    desk.viewer.dims.set_current_step(0, SHOWN)
    return desk


def expected(model: str, percent: int = 50, **steps) -> np.ndarray:
    return segment(CT, model, device="cpu", mask=MaskSettings(threshold=percent / 100, **steps)).labels.array


def mask_of(desk) -> Labels:
    return desk.viewer.layers[-1]


def test_one_press_gives_the_lobes_of_the_terminal_with_their_names(desk):
    assert {"lobes", "lungs"} <= set(desk.controls.model.choices)
    assert desk.segment() == ""
    np.testing.assert_array_equal(mask_of(desk).data, expected("lobes"))
    shown = mask_of(desk).data[SHOWN]
    for label in np.unique(shown)[1:]:
        point = desk.image.data_to_world((SHOWN, *np.argwhere(shown == label)[0]))
        assert NAMES[label - 1] in mask_of(desk).get_status(point, world=True)["value"]


def test_threshold_and_post_processing_make_the_masks_of_the_terminal_and_undo_goes_back(desk):
    assert desk.segment() == ""
    desk.set_threshold(30)
    np.testing.assert_array_equal(mask_of(desk).data, expected("lobes", 30))
    desk.switch("fill_holes", False)
    np.testing.assert_array_equal(mask_of(desk).data, expected("lobes", 30, fill_holes=False))
    desk.controls.model.value = "lungs"
    assert desk.segment() == ""
    np.testing.assert_array_equal(mask_of(desk).data, expected("lungs", 30, fill_holes=False))
    for _ in range(3):
        mask_of(desk).undo()
    np.testing.assert_array_equal(mask_of(desk).data, expected("lobes"))
    desk.set_threshold(70)
    np.testing.assert_array_equal(mask_of(desk).data, expected("lobes", 70))


def test_a_slice_alone_goes_into_the_mask_that_is_there(desk):
    assert desk.segment() == ""
    desk.controls.slices.value = "slice"
    assert desk.segment() == ""
    np.testing.assert_array_equal(mask_of(desk).data, expected("lobes"))


def test_corrections_stay_through_a_threshold_and_are_exported_by_name(desk, tmp_path):
    assert desk.segment() == ""
    mask_of(desk).selected_label = 4
    mask_of(desk).paint((SHOWN, 100, 100), 4)
    desk.set_threshold(80)
    assert mask_of(desk).data[SHOWN, 100, 100] == 4
    save_layer(mask_of(desk), tmp_path / "lobes.seg.nrrd")
    found = read(tmp_path / "lobes.seg.nrrd")
    assert [found.names[label] for label in range(1, 6)] == NAMES
    np.testing.assert_array_equal(found.array, mask_of(desk).data)
