"""What a window saves and offers where images come twice, change, go, cannot be read, or have time points."""

from __future__ import annotations

import threading

import dask.array as da
import numpy as np
import pytest
from waiting import end_work, when_saved

from napari_lungseg.formats import write
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.lookup import result_holding
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.workspace import Workspace, content_hash

SHAPE = (4, 9, 9)
SOON = 30_000


def picture(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


class Window:
    """A viewer with the dock and the module Correct, and small images in it."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        _, self.dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        self.dock.open("Correct")
        self.session = session_of(viewer)
        self.bar = self.dock.workspace
        self.wait(lambda: self.session.workspace is not None)

    def wait(self, condition):
        self.qtbot.waitUntil(condition, timeout=SOON)

    def image(self, data, name="ct", **keywords):
        return self.viewer.add_image(data, name=name, metadata={"intensity_unit": "HU"}, contrast_limits=(0, 900), **keywords)

    def mask(self, name="mask", shape=SHAPE):
        """A mask that Correct has taken for the topmost image without one."""
        lungs = self.viewer.add_labels(np.zeros(shape, np.uint8), name=name)
        assert result_holding(self.viewer, lungs) is not None
        return lungs

    def saved(self, content):
        """The labels of a case as another program reads them; None if there are none."""
        with Workspace(self.session.workspace.folder) as other:
            case = other.find(content if isinstance(content, str) else content_hash(content))
            loaded = None if case is None else other.load(case)
        return None if loaded is None else loaded.labels

    def is_saved(self, content, labels) -> bool:
        found = self.saved(content)
        return found is not None and np.array_equal(found, labels)

    def until_saved(self, content, labels) -> None:
        when_saved(self.qtbot, self.session, lambda: self.is_saved(content, labels))

    def wait_for_searches(self):
        self.wait(lambda: not self.session.recognition.searches)


@pytest.fixture
def open_window(make_napari_viewer_proxy, qtbot):
    def call() -> Window:
        return Window(make_napari_viewer_proxy(), qtbot)

    yield call
    end_work()


@pytest.fixture
def window(open_window) -> Window:
    return open_window()


def lazy(data, on_read):
    """An image that is read block by block, and tells so."""

    def block(part):
        on_read()
        return part

    source = da.from_array(data, chunks=(1, *data.shape[1:]))
    return da.map_blocks(block, source, dtype=data.dtype, meta=np.zeros((0,) * data.ndim, data.dtype))


# ---- several images


def test_an_image_that_cannot_be_read_keeps_no_other_from_being_saved(window, messages):
    gone = threading.Event()

    def read():
        if gone.is_set():
            raise OSError("the network drive is gone")

    unreadable = window.image(lazy(picture(1), read), "far")
    far = window.mask("far mask")
    near_data = picture(2, (4, 8, 8))
    window.image(near_data, "near")
    near = window.mask("near mask", near_data.shape)
    gone.set()
    unreadable.visible = False
    far.paint((1, 4, 4), 1)
    window.wait(lambda: not window.session.status.safe)
    assert window.session.status.text.startswith("Saving far failed: the network drive is gone")
    near.paint((2, 4, 4), 1)
    window.until_saved(near_data, near.data)
    assert not window.session.status.safe
    # What was removed is given up, and nothing is said to be unsaved any more.
    del window.viewer.layers["far mask"], window.viewer.layers["far"]
    window.wait(lambda: window.session.status.safe)
    assert any("far failed" in message and "given up" in message for message in messages)
    near.paint((3, 4, 4), 1)
    window.until_saved(near_data, near.data)


def test_an_image_that_can_be_read_again_is_saved(window):
    gone = threading.Event()

    def read():
        if gone.is_set():
            raise OSError("the network drive is gone")

    data = picture(1)
    window.image(lazy(data, read), visible=False)
    lungs = window.mask()
    gone.set()
    lungs.paint((1, 4, 4), 1)
    window.wait(lambda: not window.session.status.safe)
    gone.clear()
    window.wait(lambda: window.session.status.safe)
    window.until_saved(data, lungs.data)


def test_two_layers_of_one_image_keep_their_masks_apart_and_both_are_offered_again(window, open_window, messages):
    data = picture(1)
    window.image(data)
    first = window.mask("model 1")
    first.paint((0, 4, 4), 1)
    window.until_saved(data, first.data)
    window.image(data.copy(), "ct copy")
    second = window.mask("model 2")
    second.paint((1, 4, 4), 2)
    content = content_hash(data)
    window.until_saved(f"{content}-2", second.data)
    assert window.is_saved(content, first.data)
    window.wait(lambda: any("ct copy is the same image as ct" in message for message in messages))
    masks = [first.data.copy(), second.data.copy()]
    window.session.close()
    window.viewer.layers.clear()
    later = open_window()
    for name in ("ct", "ct copy"):
        later.image(data.copy(), name)
        later.wait(lambda: len(later.session.offers) == 1)
        later.bar.restore.click()
        later.wait(lambda name=name: f"{name} lungs" in later.viewer.layers)
    np.testing.assert_array_equal(later.viewer.layers["ct lungs"].data, masks[0])
    np.testing.assert_array_equal(later.viewer.layers["ct copy lungs"].data, masks[1])


def test_a_mask_begun_anew_is_not_mixed_with_the_one_that_was_not_wanted(window, open_window):
    data = picture(1)
    window.image(data)
    lungs = window.mask()
    lungs.paint((0, 4, 4), 1)
    window.until_saved(data, lungs.data)
    window.session.close()
    window.viewer.layers.clear()
    later = open_window()
    later.image(data)
    later.wait(lambda: bool(later.session.offers))
    anew = later.mask()
    anew.paint((2, 4, 4), 2)
    assert not later.session.offers
    later.until_saved(data, anew.data)


# ---- images that change and go


def test_after_the_image_was_replaced_the_mask_is_kept_under_the_new_one(window):
    one, two = picture(1), picture(2)
    image = window.image(one)
    lungs = window.mask()
    lungs.paint((0, 4, 4), 1)
    before = lungs.data.copy()
    image.data = two
    lungs.paint((1, 4, 4), 1)
    window.until_saved(two, lungs.data)
    window.until_saved(one, before)


def test_a_mask_whose_image_was_removed_has_one_owner_and_gets_its_image_back(window):
    data = picture(1)
    window.image(data)
    lungs = window.mask()
    lungs.paint((0, 4, 4), 1)
    window.until_saved(data, lungs.data)
    result = result_holding(window.viewer, lungs)
    del window.viewer.layers["ct"]
    window.dock.open("Review")
    window.dock.open("Correct")
    assert result_holding(window.viewer, lungs) is result
    steps = result.corrections.steps
    lungs.paint((1, 4, 4), 1)
    assert result.corrections.steps == steps + 1
    assert len(window.session.tracks) == 1
    window.until_saved(data, lungs.data)
    again = window.image(data.copy())
    window.wait(lambda: result.image == again)
    assert not window.session.offers
    lungs.paint((2, 4, 4), 1)
    window.until_saved(data, lungs.data)


def test_of_a_mask_without_an_image_it_is_said_that_it_cannot_be_offered_again(window):
    lungs = window.mask("alone")
    lungs.paint((0, 4, 4), 1)
    window.wait(lambda: window.bar.status.text().startswith("Saved"))
    assert "alone cannot be offered again" in window.bar.status.text()


def test_a_lazy_image_that_nobody_knows_is_not_read(window):
    known = picture(1)
    window.image(known)
    lungs = window.mask()
    lungs.paint((0, 4, 4), 1)
    window.until_saved(known, lungs.data)
    read: list[int] = []
    window.image(lazy(picture(2, (6, 9, 9)), lambda: read.append(1)), "other shape", visible=False)
    window.image(lazy(picture(3).astype(np.uint16), lambda: read.append(1)), "other type", visible=False)
    window.wait_for_searches()
    del read[:]
    window.session.recognition.recognise(window.viewer.layers["other shape"])
    window.session.recognition.recognise(window.viewer.layers["other type"])
    window.wait_for_searches()
    assert not read


# ---- time


def test_all_time_points_with_work_are_offered_and_restored_with_their_own_undo(window, open_window):
    data = picture(1, (3, *SHAPE))
    window.image(data)
    lungs = window.mask(shape=data.shape)
    lungs.paint((0, 1, 4, 4), 1)
    lungs.paint((2, 1, 4, 4), 1)
    for step in (0, 2):
        window.until_saved(data[step], lungs.data[step])
    assert window.saved(data[1]) is None
    window.session.close()
    window.viewer.layers.clear()
    later = open_window()
    later.image(data.copy())
    later.viewer.dims.set_current_step(0, 1)
    later.wait(lambda: len(later.session.offers) == 2)
    assert [offer.time_index for offer in later.session.offers] == [(0,), (2,)]
    assert "time points 0, 2" in later.bar.offer_text.text()
    later.bar.restore.click()
    later.wait(lambda: not later.session.offers)
    back = later.viewer.layers["ct lungs"]
    np.testing.assert_array_equal(back.data, lungs.data)


def test_a_mask_from_a_file_lands_at_the_time_point_that_was_asked_for(window, tmp_path):
    data = picture(1, (3, *SHAPE))
    image = window.image(data)
    lungs = window.mask(shape=data.shape)
    lungs.paint((1, 1, 4, 4), 1)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 3:6, 3:6] = 2
    path = write(Volume(mask, scaling((1.0, 1.0, 1.0))), tmp_path / "mask.nii.gz")
    window.viewer.dims.set_current_step(0, 0)
    window.bar.start_from(path, image)
    window.viewer.dims.set_current_step(0, 2)
    window.wait(lambda: bool(lungs.data[0].any()))
    np.testing.assert_array_equal(lungs.data[0], mask)
    assert not lungs.data[2].any()
    # What was painted elsewhere can still be undone.
    lungs.undo()
    assert not lungs.data[1].any()
    np.testing.assert_array_equal(lungs.data[0], mask)
    window.until_saved(data[0], mask)


# ---- several windows


def test_a_second_window_does_not_take_the_first_for_crashed(window, open_window):
    data = picture(1)
    window.image(data)
    lungs = window.mask()
    lungs.paint((0, 4, 4), 1)
    window.until_saved(data, lungs.data)
    second = open_window()
    assert second.session.workspace.read_only
    assert not second.session.unfinished
    assert second.bar.offer_text.text() == ""
