"""Jobs in a child process: what they give, and what becomes of them when something ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.calls import call
from phantom import chest, chest_model, two_class_model
from waiting import SOON

from napari_lungseg.classes import ClassLabels
from napari_lungseg.engine.arrays import IN_MEMORY, PREFIX
from napari_lungseg.engine.messages import Cancelled, Failed, Kept, Returned, Yielded
from napari_lungseg.engine.process import Engine
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.model import save_model
from napari_lungseg.predict import predict

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at Linux's files of processes")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(chest_model(), tmp_path_factory.mktemp("models") / "chest")


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON / 1000
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def long_run(model: Path) -> tuple[Any, ...]:
    """Arguments of a prediction that takes far longer than any test."""
    volume = chest()[0]
    return (volume.__class__(Kept((100_000, 512, 512), "int16"), volume.affine, "HU"), model, "cpu", 0, 0, None, None)


def works(engine: Engine) -> bool:
    """Whether the engine still runs jobs."""
    volume, lungs = chest()
    probability = volume.with_array((100 * lungs).astype(np.uint8))
    return isinstance(call(engine, "mask", probability, MaskSettings(), ClassLabels(), None)[1].end()[0], Returned)


class Endless:
    """An image of so many slices that nothing reads it to the end."""

    def __getitem__(self, key: Any) -> Any:
        return np.zeros((512, 512), np.int16)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_engine_predicts_what_this_process_does(engine, model) -> None:
    volume = chest()[0]
    _, listener = call(engine, "predict", volume, model, "cpu", None, 3, None, None)
    end, (loaded, *items) = listener.end()
    assert isinstance(end, Returned)
    assert loaded.name == "chest"
    here = [item for item in predict(volume, chest_model()) if hasattr(item, "probability")]
    assert [item.index for item in items][:2] == [3, 4]
    assert [item.done for item in items] == list(range(1, 10))
    for item in items:
        assert np.array_equal(item.probability, here[item.index].probability)


def test_an_image_that_stays_here_is_read_slice_by_slice(engine, model) -> None:
    volume = chest()[0]
    read: list[Any] = []

    class Lazy:
        def __getitem__(self, key: Any) -> Any:
            read.append(key[-1])
            return volume.array[key]

    kept = volume.__class__(Kept(volume.shape, str(volume.array.dtype)), volume.affine, "HU")
    _, listener = call(engine, "predict", kept, model, "cpu", None, 4, 4, 5, kept=Lazy())
    end, (_, *items) = listener.end()
    assert isinstance(end, Returned)
    assert [item.index for item in items] == [4]
    whole = next(item for item in predict(volume, chest_model()) if getattr(item, "index", None) == 4)
    assert np.array_equal(items[0].probability, whole.probability)


def test_an_image_that_cannot_be_read_ends_the_job_with_a_sentence(engine, model) -> None:
    class Gone:
        def __getitem__(self, key: Any) -> Any:
            raise OSError("the drive is gone")

    volume = chest()[0]
    kept = volume.__class__(Kept(volume.shape, "int16"), volume.affine, "HU")
    end, _ = call(engine, "predict", kept, model, "cpu", None, 0, None, None, kept=Gone())[1].end()
    assert isinstance(end, Failed)
    assert end.kind == "input"
    assert "the drive is gone" in end.text


@pytest.mark.parametrize("made", [chest_model, two_class_model])
def test_the_engine_makes_the_mask_that_this_process_does(engine, made) -> None:
    volume, lungs = chest(slices=40)
    probability = volume.with_array((100 * lungs).astype(np.uint8))
    classes = made().card.class_labels
    likeliest = lungs.astype(np.uint8) if len(classes.labels) > 1 else None
    end, _ = call(engine, "mask", probability, MaskSettings(), classes, likeliest)[1].end()
    mask, count, notes = end.value
    assert not notes
    assert np.array_equal(mask, make_mask(probability, MaskSettings(), classes, likeliest).array)
    assert count == np.count_nonzero(mask)
    mask[0, 0, 0] = 1  # it is ours now


def test_input_that_cannot_be_used_is_told_in_a_sentence(engine, tmp_path) -> None:
    end, _ = call(engine, "predict", chest()[0], tmp_path / "none", "cpu", None, 0, None, None)[1].end()
    assert isinstance(end, Failed)
    assert end.kind == "input"
    assert "none" in end.text


def test_an_error_of_ours_is_told_with_its_type_and_the_engine_lives_on(engine, caplog) -> None:
    end, _ = call(engine, "mask", None, MaskSettings(), ClassLabels(), None)[1].end()
    assert isinstance(end, Failed)
    assert end.kind == "other"
    assert "AttributeError" in end.text
    assert "make_whole_mask" in caplog.text
    process = engine.process
    assert works(engine)
    assert engine.process == process


def test_what_cannot_be_sent_fails_by_itself(engine) -> None:
    end, _ = call(engine, "mask", threading.Lock())[1].end()
    assert isinstance(end, Failed)


def test_a_job_ends_when_it_is_cancelled_and_the_child_stays(engine, model) -> None:
    running, listener = call(engine, "predict", *long_run(model), kept=Endless())
    assert isinstance(listener.next(), Yielded)
    process = engine.process
    running.cancel()
    assert isinstance(listener.end()[0], Cancelled)
    assert works(engine)
    assert engine.process == process


def test_a_job_that_does_not_end_is_killed_and_those_beside_it_are_not(own_engine, model) -> None:
    beside, told_beside = call(own_engine, "predict", *long_run(model), kept=Endless())
    assert isinstance(told_beside.next(), Yielded)
    first = own_engine.process
    assert first is not None
    # Native code that does not look whether it was cancelled: one slice that takes very long.
    volume = chest()[0]
    huge = volume.__class__(Kept((3, 12_000, 12_000), "int16"), volume.affine, "HU", spacing_known=False)
    sent = threading.Event()

    class Huge:
        def __getitem__(self, key: Any) -> Any:
            sent.set()
            return np.zeros((12_000, 12_000), np.int16)

    stuck, told = call(own_engine, "predict", huge, model, "cpu", None, 0, None, None, kept=Huge())
    assert sent.wait(SOON / 1000)
    stuck.cancel()
    eventually(lambda: own_engine.process != first or stuck.child is None)
    assert isinstance(told_beside.next(), Yielded)
    beside.cancel()
    assert isinstance(told_beside.end()[0], Cancelled)
    assert isinstance(told.end()[0], Cancelled)
    assert works(own_engine)


def test_a_killed_engine_says_so_in_one_sentence_and_the_next_call_starts_another(own_engine, model, caplog) -> None:
    _, listener = call(own_engine, "predict", *long_run(model), kept=Endless())
    assert isinstance(listener.next(), Yielded)
    process = own_engine.process
    assert process is not None
    os.kill(process, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    end, _ = listener.end()
    assert isinstance(end, Failed)
    assert end.text.startswith("The engine process ended unexpectedly (")
    assert end.text.endswith("Nothing of yours is lost; press again.")
    assert end.kind == "input"
    assert works(own_engine)
    assert own_engine.process != process
    assert not _folders(process)


def test_a_paused_job_goes_on_and_can_be_cancelled(engine, model) -> None:
    running, listener = call(engine, "predict", *long_run(model), kept=Endless())
    listener.next()
    running.pause()
    # Another job passes by, so the pause has arrived as well.
    assert works(engine)
    running.resume()
    assert isinstance(listener.next(), Yielded)
    running.cancel()
    assert isinstance(listener.end()[0], Cancelled)


@linux
def test_the_child_ends_when_it_is_idle_and_comes_back(model) -> None:
    engine = Engine(idle_s=0.05)
    assert works(engine)
    eventually(lambda: engine.process is None)
    assert engine.devices()[0] == "auto"
    assert works(engine)
    engine.close()


def _folders(process: int) -> list[Path]:
    return [folder for place in (IN_MEMORY, Path(os.environ.get("TMPDIR", "/tmp"))) for folder in place.glob(f"{PREFIX}{process}-*")]


_PARENT = """
import json, sys, threading
import numpy as np
from pathlib import Path
from napari_lungseg.engine.messages import Kept, Yielded
from napari_lungseg.engine.process import Engine
from napari_lungseg.volume import Volume, scaling

class Endless:
    def __getitem__(self, key):
        return np.zeros((512, 512), np.int16)

print("a script that is run once", flush=True)
engine = Engine()
told = threading.Event()
engine.call("predict", Volume(Kept((100_000, 512, 512), "int16"), scaling((1, 1, 1)), "HU"), Path(sys.argv[1]), "cpu", 0, 0, None, None,
            listener=lambda message: told.set(), kept=Endless())
told.wait()
print(json.dumps(dict(child=engine.process, torch="torch" in sys.modules)), flush=True)
if sys.argv[2:] == ["wait"]:
    threading.Event().wait()
"""


@linux
@pytest.mark.parametrize("end", ["killed", "ends"])
def test_the_child_goes_with_its_parent_in_the_middle_of_a_job(end, model, tmp_path) -> None:
    # A script without a guard for __main__, which multiprocessing would run again in the child.
    script = tmp_path / "script.py"
    script.write_text(_PARENT)
    command = [sys.executable, str(script), str(model), *(["wait"] if end == "killed" else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "a script that is run once\n"
        told = json.loads(parent.stdout.readline())
        assert not told["torch"]
        if end == "killed":
            parent.kill()
        assert parent.stdout.read() == ""
    eventually(lambda: not is_alive(told["child"]))
    eventually(lambda: not _folders(parent.pid) and not _folders(told["child"]))
