"""What the button does while it runs: order, range, cancelling, layers that vanish, errors, and a window that stays alive."""

from __future__ import annotations

import contextlib
import shutil
import threading

import dask.array as da
import numpy as np
import pytest
from phantom import chest, dice
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog
from torch.nn.modules.module import register_module_forward_pre_hook
from waiting import SOON, settle

from napari_lungseg.model import FOLDER_VARIABLE
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.model_choice import FOLDER

CT, LUNGS = chest()


def predicted(desk) -> list[int]:
    """Slices that hold any probability."""
    return np.flatnonzero(desk.probability.data.any(axis=(1, 2))).tolist()


def long_ct(slices: int = 400) -> Volume:
    """So many slices that one has time to do something else meanwhile."""
    return Volume(np.resize(CT.array, (slices, *CT.shape[1:])), CT.affine, "HU")


def test_only_the_displayed_slice(desk):
    desk.viewer.dims.set_current_step(0, 6)
    desk.controls.slices.value = "slice"
    assert desk.segment() == ""
    assert predicted(desk) == [6]
    assert dice(desk.lungs.data[6] > 0, LUNGS[6]) > 0.98
    assert desk.controls.status.text().startswith("1 slice in ")


def test_a_range_of_slices_with_both_ends(desk):
    desk.wait(lambda: desk.controls.last.max == 8)
    desk.controls.slices.value = "range"
    desk.controls.first.value, desk.controls.last.value = 2, 4
    assert desk.segment() == ""
    assert predicted(desk) == [2, 3, 4]


def test_later_slices_join_those_that_are_there(desk):
    desk.controls.slices.value = "slice"
    for index in (3, 5):
        desk.viewer.dims.set_current_step(0, index)
        assert desk.segment() == ""
    assert predicted(desk) == [3, 5]
    assert np.flatnonzero(desk.lungs.data.any(axis=(1, 2))).tolist() == [3, 5]


def test_the_displayed_slice_comes_first_and_the_layers_fill(open_desk):
    desk = open_desk(long_ct())
    desk.viewer.dims.set_current_step(0, 300)
    seen: list[list[int]] = []
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON):
        desk.press()
        desk.wait(lambda: "ct probability" in desk.viewer.layers and bool(predicted(desk)))
        seen.append(predicted(desk))
        assert seen[0][0] <= 300 <= seen[0][-1]
        assert len(seen[0]) < 100
        assert desk.lungs.data[300].any()
        assert desk.controls.run.text == "Cancel"
        assert not desk.controls.progress.isHidden()
        desk.press()


def test_cancelling_ends_soon_and_keeps_what_is_done(open_desk):
    desk = open_desk(long_ct(2000))
    desk.press()
    desk.wait(lambda: "ct probability" in desk.viewer.layers and len(predicted(desk)) >= 5)
    desk.press()
    assert desk.controls.run.text == "Segment"
    done = predicted(desk)
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON):
        pass
    settle(desk.qtbot)
    assert predicted(desk) == done
    assert 5 <= len(done) < 2000
    assert all(desk.lungs.data[index].any() for index in done)
    assert desk.controls.status.text() == "Cancelled."


@pytest.mark.parametrize("name", ["ct lungs", "ct probability", "ct"])
def test_a_layer_deleted_meanwhile_ends_the_run_quietly(open_desk, messages, name):
    desk = open_desk(long_ct(2000))
    desk.press()
    desk.wait(lambda: "ct lungs" in desk.viewer.layers and bool(predicted(desk)))
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON):
        del desk.viewer.layers[name]
    assert desk.controls.run.text == "Segment"
    settle(desk.qtbot)
    assert not messages
    assert "removed" in desk.controls.status.text() or name == "ct"
    assert desk.controls.run.enabled is (name != "ct")
    if name != "ct":
        desk.controls.slices.value = "slice"
        assert desk.segment() == ""
        assert name in desk.viewer.layers


def test_the_viewer_closed_meanwhile_ends_the_run(open_desk, messages):
    desk = open_desk(long_ct(2000))
    desk.press()
    desk.wait(lambda: "ct lungs" in desk.viewer.layers and bool(predicted(desk)))
    desk.viewer.close()
    settle(desk.qtbot)
    assert not messages


def test_the_list_of_images_follows_the_viewer(desk):
    controls = desk.controls
    other = desk.add(CT, name="other")
    assert controls.image.value == other  # the new layer is the active one
    desk.viewer.layers.selection.active = desk.viewer.layers["ct"]
    assert controls.image.value == desk.viewer.layers["ct"]
    del desk.viewer.layers["ct"]
    assert [layer.name for layer in controls.image.choices] == ["other"]
    assert controls.image.value == other
    del desk.viewer.layers["other"]
    assert controls.image.value is None
    assert not controls.run.enabled
    assert not controls.first_steps.isHidden()
    desk.add(CT, name="third")
    assert controls.run.enabled


def test_a_label_layer_cannot_be_chosen(desk):
    desk.viewer.add_labels(np.zeros(CT.shape, np.uint8), name="mine")
    assert [layer.name for layer in desk.controls.image.choices] == ["ct"]
    assert desk.image.name == "ct"


def test_a_device_that_is_not_there_is_one_clear_sentence(desk, messages):
    desk.controls.device.choices = ["auto", "cuda:7"]
    desk.controls.device.value = "cuda:7"
    assert "cuda" in desk.segment() or "GPU" in messages[0]
    assert len(messages) == 1
    assert "Traceback" not in messages[0]
    desk.controls.device.value = "auto"
    assert desk.segment() == ""
    assert desk.lungs.data.any()


def test_a_damaged_model_is_one_clear_sentence(desk, messages, phantom_model, monkeypatch, tmp_path):
    broken = shutil.copytree(phantom_model, tmp_path / "phantom")
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert "phantom" in desk.segment()
    assert len(messages) == 1
    assert desk.controls.run.text == "Segment"
    assert [layer.name for layer in desk.viewer.layers] == ["ct"]
    monkeypatch.setenv(FOLDER_VARIABLE, str(phantom_model.parent))
    assert desk.segment() == ""


def test_a_model_can_be_any_folder(open_desk, monkeypatch, phantom_model):
    folder = str(phantom_model)
    desk = open_desk(CT)
    answers = [folder, ""]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: answers.pop(0))
    desk.controls.model.value = FOLDER
    assert desk.controls.model.value == folder
    assert desk.segment() == ""
    desk.controls.model.value = "phantom"
    desk.controls.model.value = FOLDER
    assert desk.controls.model.value == "phantom"  # as before, if no folder is chosen
    assert desk.controls.model.choices[-1] == FOLDER


def test_a_notice_of_the_network_is_shown_and_stops_nothing(open_desk, messages):
    desk = open_desk(Volume(CT.array, scaling((60.0, 40.0, 40.0)), "HU"))
    assert desk.segment() == ""
    assert len(messages) == 1
    assert "mm wide" in messages[0]
    assert desk.lungs.data.any()


def test_the_view_in_three_dimensions_is_no_hindrance(desk):
    desk.viewer.dims.ndisplay = 3
    assert desk.segment() == ""
    desk.set_threshold(40)
    assert dice(desk.lungs.data > 0, LUNGS) > 0.98
    desk.viewer.dims.ndisplay = 2
    desk.viewer.dims.order = (1, 0, 2)  # coronal
    desk.set_threshold(50)
    assert desk.segment() == ""
    assert dice(desk.lungs.data > 0, LUNGS) > 0.98


def test_a_range_that_is_not_there_any_more_is_refused(desk, messages):
    desk.wait(lambda: desk.controls.last.max == 8)
    desk.controls.slices.value = "range"
    desk.image.data = CT.array[:4]
    assert "0 to 3" in desk.segment()
    assert len(messages) == 1


def test_an_image_that_changed_its_shape_is_segmented_anew(desk):
    assert desk.segment() == ""
    desk.image.data = CT.array[:4]
    assert desk.segment() == ""
    shapes = [layer.data.shape for layer in desk.viewer.layers if layer.name.startswith("ct lungs")]
    assert (4, *CT.shape[1:]) in shapes


def test_the_window_goes_on_and_the_network_runs_elsewhere(desk):
    window = threading.get_ident()
    ticked, armed, answered = threading.Event(), threading.Event(), []
    timer = QTimer()
    timer.timeout.connect(ticked.set)

    def read(block_info) -> np.ndarray:
        if armed.is_set() and threading.get_ident() != window:
            # The network waits for this slice, and that for the window, which it could not if either ran in the window's thread.
            ticked.clear()
            answered.append(ticked.wait(10))
        return CT.array[slice(*block_info[None]["array-location"][0])]

    chunks = ((1,) * len(CT.array), *((size,) for size in CT.shape[1:]))
    desk.image.data = da.map_blocks(read, chunks=chunks, dtype=np.int16, meta=np.empty((0, 0, 0), np.int16))
    settle(desk.qtbot)
    calls: list[object] = []
    timer.start(0)
    armed.set()
    with contextlib.ExitStack() as hooks:
        hooks.callback(register_module_forward_pre_hook(lambda module, _: calls.append(module)).remove)
        assert desk.segment() == ""
    armed.clear()
    assert len(answered) >= len(CT.array)
    assert all(answered)
    assert calls == []
