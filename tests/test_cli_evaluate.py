"""Scores in the terminal: printed, as CSV and as JSON; for files, folders and slices."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from geometry import write_in_two_places
from phantom import chest, dice

from napari_lungseg import cli
from napari_lungseg.comparison import STATISTICS
from napari_lungseg.formats import write
from napari_lungseg.metrics import TOLERANCE_MM, Scores, evaluate
from napari_lungseg.volume import Volume

SCORES = list(Scores.__dataclass_fields__)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command in a folder of its own; gives exit status, lines of stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args) -> tuple[int, list[str], list[str]]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["evaluate", *(str(arg) for arg in args)])
        streams = capsys.readouterr()
        return int(ended.value.code), streams.out.splitlines(), streams.err.splitlines()

    return call


def sides() -> tuple[Volume, Volume]:
    """Right and left lung, and a guess one column beside."""
    volume, lungs = chest(slices=4)
    labels = np.where(lungs, 1 + (np.arange(lungs.shape[2]) >= 48), 0).astype(np.uint8)
    return volume.with_array(np.roll(labels, 1, axis=2)), volume.with_array(labels)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Volume, Volume]:
    guess, truth = sides()
    write(guess, tmp_path / "guess.nii.gz")
    write(truth, tmp_path / "truth.nii.gz")
    return guess, truth


@pytest.fixture
def folders(tmp_path: Path) -> None:
    """Three cases: perfect, one column beside, missed; and one without a partner."""
    guess, truth = sides()
    empty = truth.with_array(np.zeros(truth.shape, np.uint8))
    (tmp_path / "guess").mkdir()
    (tmp_path / "truth").mkdir()
    for name, found in (("a_lungs.nii.gz", truth), ("b.nrrd", guess), ("c.mha", empty)):
        write(found, tmp_path / "guess" / name)
    for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"):
        write(truth, tmp_path / "truth" / name)


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_two_files_give_a_row_for_each_label(run, files):
    status, out, err = run("guess.nii.gz", "truth.nii.gz", "--csv", "s.csv", "--json", "s.json")
    assert (status, err) == (0, [])
    assert out[0].split()[:3] == ["case", "label", "dice"]
    expected = evaluate(*files)
    rows = table("s.csv")
    assert [row["label"] for row in rows] == ["lungs", "label 1", "label 2"]
    assert list(rows[0]) == ["case", "label", *SCORES]
    for row in rows:
        assert {name: float(row[name]) for name in SCORES} == pytest.approx(vars(expected[row["label"]]))
    document = json.loads(Path("s.json").read_text())
    assert document["cases"][1]["dice"] == expected["label 1"].dice
    assert document["summary"] == {}
    assert "slices" not in document


def test_a_perfect_mask_prints_ones(run, files):
    assert run("truth.nii.gz", "truth.nii.gz")[1][1].split()[2:7] == ["1.0000"] * 5


def test_a_folder_gives_its_statistics_printed_and_in_both_files(run, folders):
    status, out, err = run("guess", "truth", "--csv", "s.csv", "--json", "s.json")
    assert status == 1
    assert len(err) == 1
    assert "d.nii.gz" in err[0]
    shift = dice(sides()[0].array > 0, sides()[1].array > 0)
    values = [1.0, shift, 0.0]
    assert [row.split()[2] for row in out if row.split()[1:2] == ["lungs"]] == [f"{value:.4f}" for value in values]
    (line,) = [row.split() for row in out if row.split()[:2] == ["lungs", "dice"]]
    assert line[2:6] == [f"{value:.4f}" for value in (np.mean(values), np.std(values, ddof=1), shift, np.percentile(values, 5))]

    document = json.loads(Path("s.json").read_text())
    told = document["summary"]["lungs"]["dice"]
    assert list(told) == list(STATISTICS)
    assert told["cases"] == 3
    assert told["mean"] == pytest.approx(np.mean(values))
    assert told["mean_low"] < told["mean"] < told["mean_high"]
    assert document["bootstrap"] == {"of": "mean", "interval_percent": 95, "resamples": 10_000, "seed": 0}
    # The missed case is not hidden: no mean distance, and why.
    assert document["summary"]["label 2"]["hd95_mm"]["mean"] is None
    assert document["summary"]["label 2"]["hd95_mm"]["infinite"] == 1
    assert document["summary"]["label 2"]["hd95_mm"]["median"] == pytest.approx(4.0)

    rows = {(row["case"], row["label"]): row for row in table("s.csv")}
    assert float(rows["sd", "lungs"]["dice"]) == pytest.approx(told["sd"])
    assert float(rows["mean", "label 2"]["hd95_mm"]) == math.inf
    assert rows["mean", "label 2"]["tolerance_mm"] == ""


def test_slices_go_into_a_file_of_their_own_and_into_the_json(run, files):
    guess, truth = files
    assert run("guess.nii.gz", "truth.nii.gz", "--per-slice", "slices.csv", "--json", "s.json")[0] == 0
    rows = [row for row in table("slices.csv") if row["label"] == "label 2"]
    assert [int(row["slice"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["dice"]) for row in rows] == pytest.approx(
        [dice(one == 2, other == 2) for one, other in zip(guess.array, truth.array)]
    )
    assert len(json.loads(Path("s.json").read_text())["slices"]) == 3 * 4


def test_the_tolerance_of_the_surface_dice_is_stated_with_it(run, files):
    assert f"at {TOLERANCE_MM:g} mm" in run("guess.nii.gz", "truth.nii.gz")[1][-1]
    # The guess lies 4 mm beside.
    for tolerance, within in (("3.9", False), ("4", True)):
        status, out, _ = run("guess.nii.gz", "truth.nii.gz", "--tolerance-mm", tolerance, "--csv", "s.csv")
        assert status == 0
        assert f"{tolerance} mm" in out[-1]
        assert (float(table("s.csv")[0]["nsd"]) == 1) is within
        assert float(table("s.csv")[0]["tolerance_mm"]) == float(tolerance)


def test_labels_are_chosen_and_named(run, files):
    run("guess.nii.gz", "truth.nii.gz", "--label", "2=left lung", "--label", "3=tumour", "--csv", "s.csv")
    assert [row["label"] for row in table("s.csv")] == ["lungs", "left lung", "tumour"]
    for wrong in ("label 2", "0=air", "2=", "-1=x"):
        status, out, err = run("guess.nii.gz", "truth.nii.gz", f"--label={wrong}")
        assert (status, out, len(err)) == (2, [], 1)


def test_pictures_without_a_size_say_so(run, tmp_path):
    write(Volume(np.eye(8, dtype=np.uint8), np.eye(4), spacing_known=False), tmp_path / "mask.png")
    status, _, err = run("mask.png", "mask.png")
    assert status == 0
    assert "how large a pixel is" in err[0]


def test_other_grids_missing_files_and_wrong_values_are_refused_in_one_line(run, tmp_path):
    for name, slices in (("a.nii.gz", 2), ("b.nii.gz", 3)):
        volume, lungs = chest(slices=slices)
        write(volume.with_array(lungs.astype(np.uint8)), tmp_path / name)
    for arguments in (("b.nii.gz",), ("nowhere.nii.gz",), (".",), ("a.nii.gz", "--tolerance-mm", "-1"), ("a.nii.gz", "--csv", "no/s.csv")):
        status, out, err = run("a.nii.gz", *arguments)
        assert (status, out, len(err)) == (2, [], 1)


def test_probabilities_beside_the_labels_that_segment_wrote_are_passed_over(run, files, tmp_path):
    for folder, names in (("out", ("a_lungs.nii.gz", "a_probability.nii.gz", "b_probability.nii.gz")), ("known", ("a.nii.gz",))):
        (tmp_path / folder).mkdir()
        for name in names:
            write(files[1], tmp_path / folder / name)
    status, _, err = run("out", "known")
    assert status == 1
    assert len(err) == 1
    assert "b_probability.nii.gz has no reference" in err[0]


def test_what_was_doubtful_in_a_file_is_told_once(run, tmp_path):
    guess, truth = sides()
    write(guess, tmp_path / "guess.nii")
    write_in_two_places(truth, tmp_path / "truth.nii")
    status, _, err = run("guess.nii", "truth.nii")
    assert status == 0
    assert [line.partition(":")[0] for line in err] == ["truth.nii"]
    assert "two places" in err[0]
