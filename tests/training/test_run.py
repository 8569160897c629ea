import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_lungseg.cli import app
from napari_lungseg.errors import InputError
from napari_lungseg.model import load_model
from napari_lungseg.training.fit import TrainSettings
from napari_lungseg.training.holdout import score_case, summarise
from napari_lungseg.training.run import train
from napari_lungseg.volume import Volume, scaling

QUICK = TrainSettings(epochs=1, steps_per_epoch=2, batch_size=1, view_px=32)


def test_trained_model_loads_with_a_card_that_says_what_it_learnt_from(chests: Path, tmp_path: Path) -> None:
    train(chests, tmp_path / "mine", settings=QUICK, device="cpu", command="napari-lungseg train")
    card = load_model(tmp_path / "mine").card
    assert card.name == "mine"
    assert card.training["command"] == "napari-lungseg train"
    assert card.training["held_out"] == ["d"]
    assert set(card.training["train"]) | set(card.training["validation"]) == {"a", "b", "c"}
    assert card.training["sources"] == [{"data": "drawn", "licence": "none"}]
    assert 0 <= card.scores["held_out"]["dice"] <= 1
    assert len((tmp_path / "mine/training/log.jsonl").read_text().splitlines()) == 1


def test_training_from_a_model_records_its_lineage(chests: Path, tmp_path: Path) -> None:
    parent = train(chests, tmp_path / "parent", settings=QUICK, device="cpu")
    child = train(chests, tmp_path / "child", base=str(tmp_path / "parent"), settings=QUICK, device="cpu")
    assert [(a.name, a.weights_sha256) for a in child.card.lineage] == [("parent", parent.card.weights_sha256)]
    assert child.card.weights_sha256 != parent.card.weights_sha256


def test_resume_needs_a_run_to_go_on_with(chests: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training run to resume"):
        train(chests, tmp_path / "none", resume=True)


def test_terminal_trains_and_resumes_with_the_plan_of_the_run(chests: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    result = CliRunner().invoke(app, ["train", str(chests), "-o", str(model), "--minutes", "0.01", "--batch-size", "1", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert json.loads((model / "training/plan.json").read_text())["settings"]["minutes"] == 0.01
    first = (model / "weights.safetensors").read_bytes()
    result = CliRunner().invoke(app, ["train", str(chests), "-o", str(model), "--resume", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (model / "weights.safetensors").read_bytes() == first, "the time was spent; nothing more to learn"


def test_scores_count_slices_with_and_without_lung() -> None:
    known, found = np.zeros((2, 3, 10, 10), dtype=np.uint8)
    known[0, :4], found[0, :2] = 1, 1
    found[2, 0, :5] = 1
    affine = scaling((10.0, 1.0, 1.0))
    score = score_case("c", "p", Volume(found, affine), Volume(known, affine))
    assert score.slice_dice == pytest.approx((2 * 20 / 60,))
    assert score.false_ml == pytest.approx((0.0, 0.05))
    summary = summarise([score])
    assert summary["slices"] == 1
    assert summary["empty_slices_marked"] == 1
    assert summary["false_ml"] == pytest.approx(0.05)
    assert summary["dice"] == pytest.approx(2 * 20 / (40 + 25), abs=1e-4)


def test_scores_of_a_missed_lung_count_it_and_leave_out_its_distance() -> None:
    known = np.ones((1, 10, 10), dtype=np.uint8)
    affine = scaling((10.0, 1.0, 1.0))
    summary = summarise([score_case("c", "p", Volume(np.zeros_like(known), affine), Volume(known, affine))])
    assert summary["missed_cases"] == 1
    assert summary["dice"] == 0
    assert "hd95_mm" not in summary
