"""A run on a real Dask worker makes what it makes here, and whatever is lost, it can be gone on with from its last epoch."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from dask_cluster import Cluster
from engine.calls import Listener, call
from waiting import SOON

from napari_lungseg import cli
from napari_lungseg.architecture import UNetConfig
from napari_lungseg.card import Card
from napari_lungseg.engine.messages import Cancelled, Failed, Returned, Yielded
from napari_lungseg.engine.process import Call, Engine
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model, load_model, save_model
from napari_lungseg.predicted import Notice
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.remote import worker_side
from napari_lungseg.remote.training import train_remotely
from napari_lungseg.remote.worker_side import Background
from napari_lungseg.run_files import FOLDER, LAST, LOG, SAMPLES
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.calibrate import run_with_int8
from napari_lungseg.training.fit import load_state
from napari_lungseg.training.plan import read_plan
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.samples import read_samples
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import FolderSource
from napari_lungseg.training.updates import EpochDone, Finished, Int8Tried, Progress, StepDone, Update
from napari_lungseg.unet import UNet

distributed = pytest.importorskip("distributed")

#: Of a run that a test does not wait for.
LONG = 1000


class Lab:
    """A cluster with a worker, which takes the place of one that was killed."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.worker: psutil.Process | None = None
        self.place = folder
        self._count = itertools.count()

    @property
    def address(self) -> str:
        return self.cluster.address

    def add_worker(self) -> None:
        self.place = self.cluster.folder / f"worker-{next(self._count)}"
        self.worker = self.cluster.add_worker(self.place.name)

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.cluster.kill(self.worker)
        self.worker = None

    def copies(self) -> list[Path]:
        """Copies of runs on the worker."""
        return list(self.place.glob("dask-scratch-space/*/train-*"))

    def works(self) -> bool:
        """Whether the worker has a thread that works."""
        with distributed.Client(self.address, set_as_default=False) as client:
            (names,) = client.run(lambda: [thread.name for thread in threading.enumerate()]).values()
        return "errand" in names


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("cluster"))
    yield lab
    lab.cluster.close()


@pytest.fixture
def lab(started: Lab) -> Lab:
    if started.worker is None:
        started.add_worker()
    return started


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learnt nothing."""
    torch.manual_seed(0)
    card = Card("blank", "", UNetConfig(base_width=8, depth=2, norm="group"), Preprocessing(spacing_mm=2.2))
    return save_model(Model(UNet(card.unet), card), tmp_path_factory.mktemp("models") / "blank")


@pytest.fixture
def prepared(chests: Path, blank: Path, tmp_path: Path):
    """Prepares a run of so many epochs."""

    def call(epochs: int = 3) -> Path:
        settings = TrainSettings.fine_tuning(
            epochs=epochs,
            steps_per_epoch=4,
            batch_size=2,
            view_px=48,
            coarse_share=0.0,
            learning_rate=1e-2,
            average=0.8,
            augmentation=AugmentSettings.off(),
            minutes=None,
            patience=None,
        )
        folder = tmp_path / "models" / "tuned"
        list(prepare(FolderSource(chests), folder, base=str(blank), settings=settings))
        return folder

    return call


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([part.detach().flatten() for part in load_model(folder).network.parameters()])


def first(updates: Iterator[Update], kind: type) -> Update:
    return next(update for update in updates if isinstance(update, kind))


def begin(engine: Engine, folder: Path, address: str) -> tuple[Call, Listener]:
    """A run in an engine that has ended its first epoch."""
    running, heard = call(engine, "train", folder.parent / ".lock", 0.0, folder, address, None, None, "small", None)
    while not (isinstance(message := heard.next(), Yielded) and isinstance(message.item, EpochDone)):
        assert isinstance(message, Yielded), message
    return running, heard


def test_a_cluster_makes_the_model_that_this_computer_makes(lab: Lab, prepared, tmp_path: Path) -> None:
    folder = prepared()
    here = tmp_path / "here" / "tuned"
    shutil.copytree(folder, here)
    ran = list(run_with_int8(here, device="cpu"))
    updates, epochs = [], []
    for update in train_remotely(lab.address, folder):
        updates.append(update)
        if isinstance(update, EpochDone) and (folder / FOLDER / LAST).exists():
            epochs.append((update.epoch, load_state(folder / FOLDER / LAST)["epoch"]))
        if isinstance(update, Finished):
            assert load_model(folder).card.accepted == update.verdict.accepted
    assert epochs
    assert all(kept > shown for shown, kept in epochs)
    assert torch.equal(weights(folder), weights(here))
    assert files(folder) == files(here)
    for name in ("plan.json", "log.jsonl"):
        there, own = ((place / FOLDER / name).read_text().splitlines() for place in (folder, here))
        for one, other in zip(there, own, strict=True):
            assert one == other if name == "plan.json" else json.loads(one) | {"seconds": 0} == json.loads(other) | {"seconds": 0}
    kinds = [[type(update) for update in one if not isinstance(update, Progress | Notice)] for one in (updates, ran)]
    assert kinds[0] == kinds[1]
    assert first(iter(updates), Finished).folder == str(folder)
    assert load_model(folder).card.scores == load_model(here).card.scores
    assert lab.copies() == []


def test_a_run_whose_worker_is_killed_is_gone_on_with_here(lab: Lab, prepared) -> None:
    folder = prepared(LONG)
    updates = train_remotely(lab.address, folder)
    first(updates, EpochDone)
    assert lab.copies()
    lab.kill_worker()
    with pytest.raises(InputError, match=r"stopped answering .* All up to the last epoch that came is kept: go on with the run"):
        list(updates)
    kept = load_state(folder / FOLDER / LAST)["epoch"]
    assert len((folder / LOG).read_text().splitlines()) == kept
    stop = False
    again = run_with_int8(folder, device="cpu", resume=True, should_stop=lambda: stop)
    assert first(again, StepDone).epoch == kept
    stop = True
    assert first(again, Finished).name == "tuned"


def test_a_run_that_was_begun_here_is_gone_on_with_on_a_cluster_and_stopped_there(lab: Lab, prepared, engine: Engine) -> None:
    folder = prepared(LONG)
    own = run_with_int8(folder, device="cpu")
    first(own, EpochDone)
    own.close()
    running, heard = begin(engine, folder, lab.address)
    running.stop()
    end, items = heard.end()
    assert isinstance(end, Returned), end
    assert first(iter(items), Finished).verdict.new is not None
    assert weights(folder).isfinite().all()
    epochs = [json.loads(line)["epoch"] for line in (folder / LOG).read_text().splitlines()]
    assert epochs == list(range(len(epochs)))
    assert not (folder / SAMPLES).exists()
    lab.cluster.wait(lambda: not lab.copies())


def test_a_pause_holds_the_worker(lab: Lab, prepared) -> None:
    folder = prepared()
    paused, asked, updates, over = True, 0, [], threading.Event()

    def is_paused() -> bool:
        nonlocal asked
        asked += 1
        return paused

    def train() -> None:
        for update in train_remotely(lab.address, folder, is_paused=is_paused):
            updates.append(update)
        over.set()

    threading.Thread(target=train, daemon=True).start()
    lab.cluster.wait(lambda: any(update.text == "Loading the model" for update in updates))
    # The worker answers at once where it has something new.
    told, before = len(updates), asked
    lab.cluster.wait(lambda: asked >= before + 4)
    assert len(updates) == told
    paused = False
    assert over.wait(SOON / 1000)
    assert any(isinstance(update, Finished) for update in updates)


def test_a_cancelled_run_ends_its_work_and_its_copy_on_the_worker(lab: Lab, prepared, engine: Engine) -> None:
    folder = prepared(LONG)
    running, heard = begin(engine, folder, lab.address)
    assert lab.copies()
    process = engine.process
    running.cancel()
    assert isinstance(heard.end()[0], Cancelled)
    assert engine.process == process
    lab.cluster.wait(lambda: not lab.copies() and not lab.works())
    assert (folder / FOLDER / LAST).exists()


def test_a_worker_whose_client_has_gone_ends_the_work_too(lab: Lab, prepared, engine: Engine) -> None:
    _, heard = begin(engine, prepared(LONG), lab.address)
    psutil.Process(engine.process).kill()
    assert isinstance(heard.end()[0], Failed)
    lab.cluster.wait(lambda: not lab.copies() and not lab.works())


def test_a_worker_ends_its_work_when_nobody_has_asked_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_side, "SILENCE_S", 0.1)
    ended = threading.Event()

    def work(told: Background) -> None:
        try:
            while True:
                told.put("something")
        finally:
            ended.set()

    background = Background(work, 3, "")
    assert ended.wait(SOON / 1000)
    assert background.take() == (["something"] * 3, {})


def test_a_worker_that_is_killed_after_the_training_leaves_the_model(lab: Lab, prepared) -> None:
    folder = prepared()
    updates = train_remotely(lab.address, folder)
    first(updates, Finished)
    lab.kill_worker()
    assert all(isinstance(update, Progress | Int8Tried) for update in updates)
    assert weights(folder).isfinite().all()


def test_the_terminal_trains_on_a_cluster(lab: Lab, chests: Path, blank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(chests), "-o", str(tmp_path / "tuned"), "--from", str(blank), "--scheduler", lab.address]
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--epochs", "1", "--steps-per-epoch", "2", "--batch-size", "2", "--view-px", "48"])
    assert end.value.code in (0, None)
    assert "Saved" in capsys.readouterr().out
    assert "held_out" in load_model(tmp_path / "tuned").card.scores


def test_a_wrong_address_is_one_sentence_and_the_run_can_be_gone_on_with(prepared, engine: Engine) -> None:
    folder = prepared()
    end, items = call(engine, "train", folder.parent / ".lock", 0.0, folder, "nonsense://x", None, None, "small", None)[1].end()
    assert isinstance(end, Failed)
    assert end.kind == "input"
    assert "no Dask scheduler at nonsense://x" in end.text
    assert items == []
    assert read_plan(folder).name == "tuned"
    assert read_samples(folder / SAMPLES)["train"]
