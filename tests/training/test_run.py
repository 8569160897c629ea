"""From labelled images to a model that is accepted or not: whole runs, broken off, killed, resumed."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shared_step
import torch
from geometry import write_in_two_places
from phantom import chest
from PIL import Image
from to_be_killed import Forks

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.card import Card
from napari_lungseg.cli.train import _Bar
from napari_lungseg.errors import InputError
from napari_lungseg.formats import write
from napari_lungseg.model import Model, bundled_folder, list_models, load_model, save_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.run_files import LOG, SAMPLES
from napari_lungseg.segmentation import segment
from napari_lungseg.training import run_setup
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.judge import TOLERANCE, Judge
from napari_lungseg.training.plan import read_plan
from napari_lungseg.training.prepare import look_over, prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.samples import BaseCases, base_cases, slices_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import CasesSource, FolderSource, TrainingCase, WorkspaceSource, only_slices
from napari_lungseg.training.train import sweep, train
from napari_lungseg.training.updates import EpochDone, Finished, Overview, PooledScores, StepDone
from napari_lungseg.unet import UNet
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Workspace, content_hash

QUICK = {
    "epochs": 3,
    "steps_per_epoch": 8,
    "batch_size": 2,
    "view_px": 48,
    "coarse_share": 0.0,
    "learning_rate": 1e-2,
    "average": 0.8,
    "augmentation": AugmentSettings.off(),
    "minutes": None,
    "patience": None,
}


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    """A small model that has learnt nothing."""
    torch.manual_seed(0)
    config = UNetConfig(base_width=8, depth=2, norm="group")
    card = Card("blank", "", config, Preprocessing(spacing_mm=2.2))
    return save_model(Model(UNet(config), card), tmp_path_factory.mktemp("models") / "blank")


def quick(**changes) -> TrainSettings:
    return TrainSettings.fine_tuning(**{**QUICK, **changes})


def go(source, folder: Path, base: Path, settings: TrainSettings) -> tuple[Overview, Finished, list]:
    overview = list(prepare(source, folder, base=str(base), settings=settings))[-1]
    updates = list(run(folder, device="cpu"))
    return overview, updates[-1], updates


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder).network.parameters()])


def test_model_that_got_better_is_accepted_with_its_scores_lineage_and_split(chests, blank, tmp_path) -> None:
    overview, finished, updates = go(FolderSource(chests), tmp_path / "tuned", blank, quick())
    assert (overview.cases, overview.slices, overview.classes) == (4, 8, {"lung": 8})
    assert overview.train + overview.validation == 8
    verdict = finished.verdict
    assert verdict.accepted
    assert verdict.why.startswith("Accepted: Dice ")
    assert verdict.new.after.mean_dice > verdict.new.before.mean_dice
    assert verdict.pictures
    before, after = verdict.pictures[0]
    assert before.image.shape == after.prediction.shape
    card = load_model(tmp_path / "tuned").card
    assert card.accepted
    assert card.lineage[0].name == "blank"
    assert card.scores["validation_after"]["dice"]["lung"] == pytest.approx(verdict.new.after.mean_dice, abs=1e-4)
    assert set(card.training["split"]["patients"].values()) == {"train", "validation"}
    assert card.training["sources"] == [{"data": "drawn", "licence": "none"}]
    assert not (tmp_path / "tuned" / SAMPLES).exists(), "images do not stay with the model"
    epochs = [u for u in updates if isinstance(u, EpochDone)]
    log = [json.loads(line) for line in (tmp_path / "tuned" / LOG).read_text().splitlines()]
    assert [line["epoch"] for line in log] == [u.epoch for u in epochs] == [0, 1, 2]
    for name in ("dice", "iou", "precision", "recall"):
        assert set(log[0]["validation"][name]) == {"lung"}
        assert set(log[0]["train"][name]) == {"lung"}


def test_model_that_got_no_better_is_a_candidate_and_says_why(chests, blank, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_LUNGSEG_MODELS", str(tmp_path))
    _, finished, _ = go(FolderSource(chests), tmp_path / "same", blank, quick(learning_rate=1e-12))
    assert not finished.verdict.accepted
    assert "no better than the model before" in finished.verdict.why
    assert "same" not in [entry.name for entry in list_models()]
    assert "same" in [entry.name for entry in list_models(candidates=True)]


def test_without_slices_to_watch_it_is_a_candidate_that_says_so(chests, blank, tmp_path) -> None:
    image, labels = FolderSource(chests).data.load("b")
    one = TrainingCase("b", "b", image, image.with_array(only_slices(np.asarray(labels.array), 0, [0])))
    overview, finished, _ = go(CasesSource([one]), tmp_path / "one", blank, quick(epochs=1))
    assert overview.validation == 0
    assert not finished.verdict.accepted
    assert "only 1 annotated slice" in finished.verdict.why


def test_all_slices_are_told_that_nobody_has_annotated(blank) -> None:
    image = chest(40)[0]
    known = np.full(image.array.shape, 255, np.uint8)
    known[[3, 20]] = 1
    overview = list(look_over(CasesSource([TrainingCase("a", "a", image, image.with_array(known))]), base=str(blank), settings=quick()))[-1]
    assert (overview.slices, overview.unjudged) == (2, 38)


def test_retraining_keeps_the_split(chests, blank, tmp_path) -> None:
    go(FolderSource(chests), tmp_path / "first", blank, quick(epochs=1, seed=1))
    go(FolderSource(chests), tmp_path / "second", tmp_path / "first", quick(epochs=1, seed=2))
    one, two = (load_model(tmp_path / name).card.training["split"] for name in ("first", "second"))
    assert one["patients"] == two["patients"]
    assert [ancestor.name for ancestor in load_model(tmp_path / "second").card.lineage] == ["first", "blank"]


def test_new_label_grows_the_head_and_the_old_class_stays(chests, blank, tmp_path) -> None:
    go(FolderSource(chests), tmp_path / "lung", blank, quick(epochs=6))
    data = FolderSource(chests).data
    cases = []
    for case in data.cases:
        image, labels = data.load(case)
        known = np.asarray(labels.array).copy()
        known[:, :, known.shape[2] // 2 :][known[:, :, known.shape[2] // 2 :] == 1] = 4
        cases.append(TrainingCase(case, case, image, image.with_array(known)))
    settings = quick(epochs=10)
    plan_folder = tmp_path / "grown"
    overview, finished, _ = go(CasesSource(cases, {1: "lung", 4: "left half"}), plan_folder, tmp_path / "lung", settings)
    grown = load_model(plan_folder)
    assert grown.card.classes == ("lung", "left half")
    assert grown.card.labels == (1, 4)
    assert overview.classes == {"lung": 8, "left half": 8}
    assert read_plan(plan_folder).classes.from_base == (1, None)
    assert finished.verdict.new.after.dice["left half"] > 0.5
    found = np.asarray(segment(cases[0].image, grown, postprocess=False).labels.array)
    assert {1, 4} <= set(np.unique(found))


def test_label_that_means_another_thing_in_the_base_is_refused(chests, blank, tmp_path) -> None:
    image, labels = FolderSource(chests).data.load("b")
    liver = CasesSource([TrainingCase("b", "b", image, labels)], {1: "liver"})
    with pytest.raises(InputError, match="Label 1 is liver here but lung in the model"):
        list(look_over(liver, base=str(blank), settings=quick()))
    overview = list(look_over(liver, base=str(blank), settings=quick(keep_old=False)))[-1]
    assert overview.classes == {"liver": 2}


@pytest.mark.parametrize("what", ["nothing judged", "nothing labelled", "sizes differ"])
def test_what_cannot_be_learnt_from_is_told_and_nothing_is_left_behind(chests, blank, tmp_path, what: str) -> None:
    image, labels = FolderSource(chests).data.load("b")
    known = np.asarray(labels.array)
    if what == "nothing judged":
        known = np.full_like(known, 255)
    elif what == "nothing labelled":
        known = np.zeros_like(known)
    other = Volume(known[:1], image.affine) if what == "sizes differ" else image.with_array(known)
    told = {
        "nothing judged": "nobody has annotated",
        "nothing labelled": "no annotated slice holds a label",
        "sizes differ": "different grids",
    }
    with pytest.raises(InputError, match=told[what]):
        list(prepare(CasesSource([TrainingCase("b", "b", image, other)]), tmp_path / "new", base=str(blank), settings=quick()))
    assert not (tmp_path / "new").exists()


def test_a_model_or_an_unfinished_run_is_not_written_over(chests, blank, tmp_path) -> None:
    list(prepare(FolderSource(chests), tmp_path / "run", base=str(blank), settings=quick()))
    with pytest.raises(InputError, match="unfinished training run"):
        list(prepare(FolderSource(chests), tmp_path / "run", base=str(blank), settings=quick()))
    list(run(tmp_path / "run", device="cpu"))
    with pytest.raises(InputError, match="has ended, and its model is there"):
        list(run(tmp_path / "run", device="cpu", resume=True))
    with pytest.raises(InputError, match="There is a model in"):
        list(prepare(FolderSource(chests), blank, base=str(blank), settings=quick()))


def test_cancelled_run_leaves_all_models_and_can_be_gone_on_with(chests, blank, tmp_path) -> None:
    before = weights(blank)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    go(FolderSource(chests), whole, blank, quick(epochs=4))
    list(prepare(FolderSource(chests), broken, base=str(blank), settings=quick(epochs=4)))
    going = run(broken, device="cpu")
    while not (isinstance(update := next(going), StepDone) and update.epoch == 2):
        pass
    going.close()
    assert torch.equal(weights(blank), before)
    assert not (broken / "card.json").exists()
    list(run(broken, device="cpu", resume=True))
    assert torch.allclose(weights(broken), weights(whole), atol=2e-3)  # kept as float16


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_run_ends_as_an_unbroken_one_when_resumed(chests, blank, tmp_path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = quick(epochs=4)
    go(FolderSource(chests), whole, blank, settings)
    list(prepare(FolderSource(chests), killed, base=str(blank), settings=settings))
    # As many threads as here: another number adds in another order.
    # The first optimizer of a process loads as much again as torch itself.
    imports = "import torch; from napari_lungseg.training.run import run; torch.optim.SGD([torch.zeros(1)])\n"
    imports += f"torch.set_num_threads({torch.get_num_threads()})"
    work = f"for update in run({str(killed)!r}, device='cpu', resume=True): print(type(update).__name__, flush=True)"
    with closing(Forks(imports, work)) as forks:
        for _ in range(2):
            with forks.started() as told:
                assert "EpochDone\n" in told
    list(run(killed, device="cpu", resume=True))
    assert torch.allclose(weights(killed), weights(whole), atol=2e-3)


def test_asked_to_stop_the_best_so_far_is_compared_and_saved(chests, blank, tmp_path) -> None:
    list(prepare(FolderSource(chests), tmp_path / "m", base=str(blank), settings=quick(epochs=500)))
    seen: list = []
    for update in run(tmp_path / "m", device="cpu", should_stop=lambda: any(isinstance(u, EpochDone) for u in seen)):
        seen.append(update)
    assert isinstance(seen[-1], Finished)
    assert load_model(tmp_path / "m").card.name == "m"


def test_workspace_gives_its_reviewed_slices_alone(chests, blank, tmp_path) -> None:
    image, labels = FolderSource(chests).data.load("b")
    content = content_hash(image.array)
    with Workspace(tmp_path / "w") as workspace:
        case = workspace.add_case(content, name="b", path=None, shape=image.shape, affine=image.affine, axis=0, unit="HU")
        plane = np.asarray(labels.array)
        workspace.save(case, {i: (plane[i], np.full(plane[i].shape, 0x80, np.uint8)) for i in (0, 1)}, cause="paint")
        workspace.set_state(case, 1, "reviewed")
        source = WorkspaceSource(workspace, {content: image})
        (found,) = list(source)
    assert len(source) == 1
    assert found.key == f"case_{content[:12]}"
    assert (np.asarray(found.labels.array)[0] == 255).all()
    assert np.array_equal(found.labels.array[1], plane[1])


def test_base_cases_are_of_patients_on_one_side_each_and_the_base_is_good_on_them() -> None:
    card = load_model("lung-ct").card
    cases = base_cases(card)
    replay, frozen = ({item.case.split("_")[-1] for item in group} for group in (cases.replay, cases.frozen))
    assert not replay & frozen
    listed = json.loads((bundled_folder("lung-ct") / "cases" / "cases.json").read_text())["slices"]
    assert not {item["patient"] for item in listed if item["frozen"]} & set(card.training["train"])
    assert cases.classes == 1
    assert all(item.is_hu for item in cases.replay)


def test_weights_that_forget_too_much_go_back_as_little_as_it_takes(chests, blank, tmp_path, monkeypatch) -> None:
    data = FolderSource(chests).data
    pairs = {case: data.load(case) for case in data.cases}
    go(FolderSource(chests), tmp_path / "base", blank, quick(epochs=5))
    base = load_model(tmp_path / "base")
    frozen = [item for case, pair in pairs.items() for item in slices_of(case, *pair, base.card.preprocessing)]
    monkeypatch.setattr(run_setup, "base_cases", lambda card: BaseCases("drawn", [], frozen))
    dim = [
        TrainingCase(case, case, image.with_array((np.asarray(image.array) * 0.4 + 300).astype(np.int16), "HU"), labels)
        for case, (image, labels) in pairs.items()
    ]
    _, finished, _ = go(CasesSource(dim), tmp_path / "tuned", tmp_path / "base", quick(epochs=4))
    assert finished.verdict.accepted, finished.verdict.why
    tuned = load_model(tmp_path / "tuned")
    share = tuned.card.training["share_of_new_weights"]
    assert 0 < share < 1

    def frozen_dice(part: float) -> float:
        """On what was not to be forgotten, at a part of the whole way from the base."""
        old, network = base.network.state_dict(), copy.deepcopy(base.network)
        network.load_state_dict({name: old[name] + (new - old[name]) * (part / share) for name, new in tuned.network.state_dict().items()})
        return finished_scores(Judge(base.card.preprocessing, ("lung",)).score(network.eval(), frozen)).mean_dice

    assert frozen_dice(0) - frozen_dice(share) <= TOLERANCE
    assert frozen_dice(0) - frozen_dice(share + 1 / 16) > TOLERANCE


def finished_scores(scoring: Generator[object, None, PooledScores]) -> PooledScores:
    while True:
        try:
            next(scoring)
        except StopIteration as end:
            return end.value


def test_sweep_keeps_the_settings_that_did_best(chests, blank, tmp_path) -> None:
    list(prepare(FolderSource(chests), tmp_path / "s", base=str(blank), settings=quick(epochs=1)))
    trials = sweep(tmp_path / "s", 3, device="cpu")
    assert [trial.score for trial in trials] == sorted((trial.score for trial in trials), reverse=True)
    kept = read_plan(tmp_path / "s").settings
    assert kept.learning_rate == trials[0].learning_rate
    assert kept.augmentation.strength == trials[0].strength


def test_new_model_in_one_call_from_pairs_of_pictures(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(4):
        mask = np.zeros((64, 64), np.uint8)
        row, column = rng.integers(12, 30, 2)
        mask[row : row + 20, column : column + 20] = 255
        picture = (mask * 0.5 + rng.normal(60, 5, mask.shape)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "data/images" / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / "data/masks" / f"{number}.png")
    settings = TrainSettings(**{**QUICK, "pixel_mm": 6.0})
    model = train(tmp_path / "data", tmp_path / "new", settings=settings, device="cpu")
    assert model.card.preprocessing.spacing_mm == 6.0
    assert model.card.classes == ("label 1",)
    assert not model.card.sides
    assert model.card.accepted


@pytest.mark.skipif(not torch.distributed.is_available() or os.name == "nt", reason="gloo")
def test_two_processes_learn_one_model_together_in_the_terminal(chests, blank, tmp_path) -> None:
    out = tmp_path / "both"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "napari_lungseg"]
    command = [*launch, "train", str(chests), "-o", str(out), "--from", str(blank), "--device", "cpu", "--epochs", "3", "--steps-per-epoch"]
    command += ["10", "--batch-size", "2", "--view-px", "48", "--learning-rate", "1e-2", "--augmentation", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"Saved {out}") == 1, "one of them speaks"
    card = load_model(out).card
    assert card.scores["validation_after"]["dice"]["lung"] > card.scores["validation_before"]["dice"]["lung"]
    assert card.scores["held_out"]["cases"] == 1


@pytest.mark.skipif(not torch.distributed.is_available() or os.name == "nt", reason="gloo")
def test_processes_that_learn_together_have_one_set_of_weights(tmp_path) -> None:
    """Two processes with one view each end as one process does that sees both views at once."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    # As torchrun sets them.
    shared = {"MASTER_ADDR": store.host, "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "2"}
    two = [
        subprocess.Popen(
            [sys.executable, shared_step.__file__, str(tmp_path)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    for process in two:
        _, told = process.communicate(timeout=200)
        assert process.returncode == 0, told[-3000:]
    shared_step.main(tmp_path)
    first, second, alone = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("2-0", "2-1", "1-0"))
    assert torch.equal(first, second)
    assert torch.allclose(first, alone, atol=1e-5)


def test_statistics_of_batch_norm_stay_those_of_the_base(chests, tmp_path) -> None:
    torch.manual_seed(0)
    config = UNetConfig(base_width=8, depth=1, norm="batch")
    base = save_model(Model(UNet(config), Card("b", "", config, Preprocessing(spacing_mm=2.2))), tmp_path / "b")
    go(FolderSource(chests), tmp_path / "tuned", base, quick(epochs=1))
    before, after = (load_model(folder).network.state_dict() for folder in (base, tmp_path / "tuned"))
    running = [name for name in before if "running" in name]
    assert running
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in running)
    assert not torch.equal(before["head.weight"].half(), after["head.weight"].half())


def test_what_was_doubtful_in_files_is_told_once_with_their_cases(tmp_path, capsys) -> None:
    image, mask = chest(slices=4)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for number in range(5):
        write_in_two_places(image, tmp_path / "data/images" / f"{number}.nii")
        write(image.with_array(mask.astype(np.uint8)), tmp_path / "data/masks" / f"{number}.nii")
    overview = list(look_over(FolderSource(tmp_path / "data"), base=None, settings=quick()))[-1]
    (note,) = overview.notes
    assert note.startswith("0, 1, 2 and 2 more: The file tells two places")
    with _Bar(shown=True) as bar:
        bar.show(replace(overview, notes=(note, "\x1b[2J")))
    lines = capsys.readouterr().err.splitlines()
    assert sum("two places" in line for line in lines) == 1
    assert not any("\x1b[2J" in line for line in lines)
