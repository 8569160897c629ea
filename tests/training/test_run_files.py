"""Whose files they are: a run removes its own and nothing else, and one process at a time goes on with it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_lungseg import cli
from napari_lungseg.errors import InputError
from napari_lungseg.formats import write
from napari_lungseg.model import import_model, load_model, remove_model
from napari_lungseg.predicted import Notice
from napari_lungseg.run_files import BEST, FOLDER, LAST, LOCK, LOG, PLAN, SAMPLES, SLICES_DATA, remove_run, run_lock
from napari_lungseg.training.fit import load_state
from napari_lungseg.training.plan import read_plan
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import CasesSource, FolderSource, TrainingCase
from napari_lungseg.training.split import hidden_key
from napari_lungseg.training.train import train
from napari_lungseg.training.updates import EpochDone, Finished
from napari_lungseg.volume import Volume, scaling

SETTINGS = TrainSettings(epochs=1, steps_per_epoch=1, batch_size=1, view_px=48, coarse_share=0.0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def empty_data(folder: Path) -> Path:
    """A data set in which nobody has marked anything to learn, so that training fails."""
    image = Volume(np.full((2, 48, 48), -1000, np.int16), scaling((2, 2, 2)), "HU")
    for part, name, volume in (("images", "a", image), ("masks", "other", image.with_array(np.zeros(image.shape, np.uint8)))):
        (folder / part).mkdir(parents=True)
        write(volume, folder / part / f"{name}.nii.gz")
    return folder


def prepared(chests: Path, folder: Path) -> Path:
    list(prepare(FolderSource(chests), folder, base=None, settings=SETTINGS))
    return folder


def test_a_run_that_the_first_version_began_can_be_resumed(tmp_path, chests):
    """The plan as it was first written, and a checkpoint of the same entries."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / PLAN).write_bytes((Path(__file__).parent / "first_plan.json").read_bytes())
    plan = read_plan(tmp_path)
    assert plan.settings == TrainSettings(epochs=3, steps_per_epoch=2, batch_size=2, view_px=48, coarse_share=0.0)
    assert plan.classes.index(np.array([0, 1, 255])).tolist() == [0, 1, 255]
    assert plan.split.patients["case_6ab9f1eb8f7d"] == "validation"
    folder = prepared(chests, tmp_path / "run")
    next(update for update in run(folder) if isinstance(update, EpochDone))
    entries = {"network", "average", "optimizer", "epoch", "seconds", "best", "best_epoch", "at_once"}
    assert load_state(folder / FOLDER / LAST).keys() == entries
    assert not any(name.startswith("module.") for name in load_state(folder / FOLDER / BEST)["average"])


class Failing(CasesSource):
    """Cases, and in the middle of reading them an error."""

    error: BaseException = InputError("The drive is gone.")

    def __iter__(self):
        yield from super().__iter__()
        raise self.error


@pytest.fixture
def case(chests) -> TrainingCase:
    return TrainingCase("b", "b", *FolderSource(chests).data.load("b"))


def test_a_folder_training_that_is_the_persons_own_is_refused_and_stays(tmp_path, case) -> None:
    data = empty_data(tmp_path / "lungs" / "training")
    before = files(tmp_path)
    with pytest.raises(InputError, match="has no image with a mask"):
        train(data, tmp_path / "lungs")
    with pytest.raises(InputError, match="no training run; choose another folder"):
        train(CasesSource([case]), tmp_path / "lungs", settings=SETTINGS)
    assert files(tmp_path) == before


@pytest.mark.parametrize("error", [InputError("The drive is gone."), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_fails_while_slices_are_written_takes_its_own_files_away_alone(tmp_path, case, error) -> None:
    own = tmp_path / "mine"
    (own / "notes").mkdir(parents=True)
    (own / "notes" / "a.txt").write_text("kept")
    source = Failing([case])
    source.error = error
    for folder in (own, tmp_path / "new" / "deep", own / "notes"):
        with pytest.raises((InputError, KeyboardInterrupt)):
            list(prepare(source, folder, base=None, settings=SETTINGS))
    assert files(tmp_path) == {"mine/notes/a.txt": b"kept"}
    assert {path.name for path in tmp_path.rglob("*")} == {"mine", "notes", "a.txt"}


def test_an_empty_folder_training_can_be_used_and_stays(tmp_path, case) -> None:
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(InputError, match="The drive is gone"):
        list(prepare(Failing([case]), tmp_path, base=None, settings=SETTINGS))
    assert list(tmp_path.rglob("*")) == [tmp_path / FOLDER]
    list(prepare(CasesSource([case]), tmp_path, base=None, settings=SETTINGS))
    assert (tmp_path / PLAN).exists()


def test_after_the_end_log_and_plan_alone_are_left_and_files_of_others_stay(chests, tmp_path) -> None:
    folder = prepared(chests, tmp_path / "m")
    (folder / SAMPLES / "mine.txt").write_text("kept")
    (folder / SAMPLES / f".{'a' * 32}").write_text("left by a process that was killed")
    assert isinstance(list(run(folder, device="cpu"))[-1], Finished)
    assert set(files(folder)) == {"card.json", "weights.safetensors", str(LOG), str(PLAN), str(SAMPLES / "mine.txt")}


def test_slices_are_no_longer_mapped_when_they_are_removed(chests, tmp_path, monkeypatch) -> None:
    """As Windows removes no mapped file."""
    mapped = []
    unlink = Path.unlink

    def spy(path: Path, missing_ok: bool = False) -> None:
        if path.name == SLICES_DATA:
            mapped.extend(entry.path for entry in psutil.Process().memory_maps() if entry.path.endswith(SLICES_DATA))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", spy)
    folder = prepared(chests, tmp_path / "m")
    list(run(folder, device="cpu"))
    assert not (folder / SAMPLES).exists()
    assert mapped == []


def test_slices_that_cannot_be_removed_are_told(chests, tmp_path) -> None:
    folder, seen = prepared(chests, tmp_path / "m"), []
    for update in run(folder, device="cpu"):
        seen.append(update)
        if len(seen) == 2:
            # Nobody can remove this as a file.
            (folder / FOLDER / "last.pt").unlink(missing_ok=True)
            (folder / SAMPLES / f".{'b' * 32}").mkdir()
    notices = [update.text for update in seen if isinstance(update, Notice)]
    assert len(notices) == 1
    assert "could not be removed" in notices[0]
    assert str(folder / SAMPLES) in notices[0]
    assert isinstance(seen[-1], Finished)


def test_a_run_that_goes_on_in_another_process_is_neither_gone_on_with_nor_swept(chests, tmp_path) -> None:
    from napari_lungseg.training.train import sweep

    folder = prepared(chests, tmp_path / "m")
    code = "import sys; from pathlib import Path; from napari_lungseg.run_files import run_lock\n"
    code += "with run_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="goes on in another window or process"):
            list(run(folder, device="cpu"))
        pytest.importorskip("optuna")
        with pytest.raises(InputError, match="goes on in another window or process"):
            sweep(folder, 1, device="cpu")
    assert isinstance(list(run(folder, device="cpu", resume=True))[-1], Finished)


def test_a_run_that_is_closed_early_lets_go_of_its_lock(chests, tmp_path) -> None:
    folder = prepared(chests, tmp_path / "m")
    updates = run(folder, device="cpu")
    next(updates)
    next(updates)
    updates.close()
    with run_lock(folder):
        pass
    assert (folder / LOCK).exists()
    remove_run(folder)
    assert not folder.exists()


def test_no_folder_is_made_where_there_is_no_run(tmp_path) -> None:
    with pytest.raises(InputError, match="no training run"):
        list(run(tmp_path / "none", device="cpu", resume=True))
    assert not (tmp_path / "none").exists()


def test_nothing_that_stays_with_a_model_tells_a_name_or_a_path(chests, tmp_path) -> None:
    """Also not of a case that could not be used, of its patient, of the base's folder, or of the data's."""
    data = FolderSource(chests).data
    cases = [TrainingCase(f"MUELLER_{case}", f"MUELLER_{case}", *data.load(case), f"MUELLER_{case[0]}") for case in data.cases]
    image = cases[0].image
    unfit = TrainingCase("MUELLER_z", "MUELLER_z", image, Volume(np.zeros((1, 4, 4), np.uint8), np.eye(4)))
    first = tmp_path / "base of MUELLER"
    train(CasesSource(cases, {1: "lung"}), first / "one", settings=SETTINGS, device="cpu")
    second = tmp_path / "two"
    train(CasesSource([*cases, unfit], {1: "lung"}), second, base=str(first / "one"), settings=SETTINGS, device="cpu")
    card = load_model(second).card
    assert card.training["split"]["patients"] == load_model(first / "one").card.training["split"]["patients"]
    for folder in (first / "one", second):
        for name, content in files(folder).items():
            assert b"MUELLER" not in content, name
            assert str(tmp_path).encode() not in content, name


def test_a_split_with_names_of_an_older_card_is_kept(chests, tmp_path) -> None:
    train(FolderSource(chests), tmp_path / "new", settings=SETTINGS, device="cpu")
    text = (tmp_path / "new" / "card.json").read_text(encoding="utf-8")
    for name in ("a", "b", "c", "a1", "a2"):
        text = text.replace(hidden_key(name), name)
    (tmp_path / "new" / "card.json").write_text(text, encoding="utf-8")
    train(FolderSource(chests), tmp_path / "again", base=str(tmp_path / "new"), settings=replace(SETTINGS, seed=5), device="cpu")
    patients = load_model(tmp_path / "again").card.training["split"]["patients"]
    old = json.loads(text)["training"]["split"]["patients"]
    assert patients == {hidden_key(name): side for name, side in old.items()}


def test_the_command_in_a_card_names_no_path(chests, tmp_path, capsys) -> None:
    options = ["--epochs", "1", "--steps-per-epoch", "1", "--batch-size", "1", "--view-px", "48", "--coarse-share", "0"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", str(chests), "-o", str(tmp_path / "m"), "--device", "cpu", *options])
    assert ended.value.code == 0
    command = load_model(tmp_path / "m").card.training["command"]
    assert command.startswith("napari-lungseg train DATA -o MODEL --preset small --epochs 1")


def test_removing_a_model_leaves_files_that_are_not_the_models(chests, tmp_path, monkeypatch) -> None:
    folder = prepared(chests, tmp_path / "m")
    list(run(folder, device="cpu"))
    monkeypatch.setenv("NAPARI_LUNGSEG_MODELS", str(tmp_path / "library"))
    imported = import_model(folder, "one")
    (imported / "notes.txt").write_text("kept")
    remove_model("one")
    assert files(tmp_path / "library") == {"one/notes.txt": b"kept"}
