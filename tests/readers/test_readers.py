"""Two people on one image, blind to each other: how far they agree, and one mask of theirs, with what is left to decide told."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.blind import BlindReading
from napari_lungseg.cli import main
from napari_lungseg.corrections import PERSON
from napari_lungseg.errors import InputError
from napari_lungseg.readers import compare_readings, find_reading, make_consensus, shared_cases
from napari_lungseg.readers.consensus import combine
from napari_lungseg.volume import scaling
from napari_lungseg.workspace import JOURNAL, Labelled, Source, Workspace, WorkspaceError

SHAPE = (6, 40, 50)
CONTENT = "c" * 64
SOURCE = Source("net", settings={"split_sides": True})


def mask(shift: int = 0) -> np.ndarray:
    """Two lungs, the second one wider at the right by some columns."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 10:30, 5:20] = 1
    labels[:, 10:30, 30 : 45 + shift] = 2
    return labels


def read(folder: Path, user: str, labels: np.ndarray, reviewed: range, content: str = CONTENT, source: Source = SOURCE) -> Path:
    """A reader's workspace, in which some slices of a mask are reviewed."""
    with Workspace(folder, user=user) as workspace:
        case = workspace.add_case(content, name="ct", path=None, shape=SHAPE, affine=scaling((2.0, 1.0, 1.0)), axis=0, unit="HU")
        origin = (labels & 0x7F) | np.where(labels > 0, PERSON, 0).astype(np.uint8)
        slices = {index: Labelled(labels[index], origin[index]) for index in range(SHAPE[0])}
        workspace.save(case, slices, cause="paint", source=source)
        for index in reviewed:
            workspace.set_state(case, index, "reviewed")
    return folder


@pytest.fixture
def ann(tmp_path):
    return read(tmp_path / "ann", "ann", mask(), range(0, 5))


@pytest.fixture
def bob(tmp_path):
    return read(tmp_path / "bob", "bob", mask(3), range(1, 6))


def opened(*folders: Path) -> list[Workspace]:
    return [Workspace(folder, for_reading=True) for folder in folders]


def test_agreement_is_told_for_the_slices_that_both_have_reviewed(ann, bob):
    first, second = (find_reading(workspace, CONTENT) for workspace in opened(ann, bob))
    found = compare_readings(first, second)
    assert found.compared == (1, 2, 3, 4)
    assert found.scores["right"].dice == 1.0
    assert found.scores["left"].dice == pytest.approx(2 * 15 / (15 + 18))
    assert found.scores["left"].volume_error_ml == pytest.approx(-4 * 20 * 3 * 2 / 1000)
    assert sorted(found.slices["left"]) == [1, 2, 3, 4]
    assert found.slices["left"][2].dice == pytest.approx(2 * 15 / (15 + 18))
    assert (first.reader, second.reader) == ("ann", "bob")


def test_what_one_reader_has_not_reviewed_is_no_agreement(ann, tmp_path):
    carl = read(tmp_path / "carl", "carl", mask(), range(5, 6))
    readings = [find_reading(workspace, CONTENT) for workspace in opened(ann, carl)]
    with pytest.raises(InputError, match="no slice was reviewed by both ann and carl"):
        compare_readings(*readings)


def test_of_two_readers_the_consensus_flags_the_slices_on_which_they_differ(ann, bob, tmp_path):
    other = mask(3)
    other[2] = mask()[2]
    bob = read(tmp_path / "bob too", "bob", other, range(1, 6))
    with Workspace(tmp_path / "both") as into:
        report = make_consensus(opened(ann, bob), into)
        assert report.made == [("ct", 4, 3)]
        case = into.find(CONTENT)
        states = into.states(case)
        saved = into.load(case)
    assert {index: known.state for index, known in states.items()} == {1: "flagged", 2: "reviewed", 3: "flagged", 4: "flagged"}
    assert states[1].note == "60 voxels on which ann, bob are divided"
    np.testing.assert_array_equal(saved.labels[1:5], mask()[1:5])
    assert not saved.labels[0].any()
    assert (saved.origin[1:5] & PERSON).all()
    assert saved.source.names == {1: "right lung", 2: "left lung"}


@pytest.mark.parametrize("method", ["staple", "majority"])
def test_of_three_readers_the_two_who_agree_prevail(ann, tmp_path, method):
    bob = read(tmp_path / "bob", "bob", mask(), range(6))
    carl = read(tmp_path / "carl", "carl", mask(4), range(6))
    with Workspace(tmp_path / "all") as into:
        report = make_consensus(opened(carl, ann, bob), into, method)
        saved = into.load(into.find(CONTENT))
        states = into.states(into.find(CONTENT))
    assert report.made == [("ct", 6, 1)], "only ann has not reviewed the last slice"
    np.testing.assert_array_equal(saved.labels[:5], mask()[:5])
    assert states[5].state == "flagged"


def test_evenly_divided_voxels_keep_the_first_readers_label():
    one, two = np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8)
    labels, undecided = combine([one, two, one, two], "majority")
    assert undecided.all()
    np.testing.assert_array_equal(labels, one)


def test_labels_that_mean_two_things_are_not_brought_together(ann, tmp_path):
    classes = Source(
        "lobes", settings={"split_sides": False, "classes": {"labels": [1, 2], "names": ["upper lobe", "lower lobe"], "sides": False}}
    )
    lobes = read(tmp_path / "lobes", "bob", mask(), range(6), source=classes)
    with Workspace(tmp_path / "both") as into:
        report = make_consensus(opened(ann, lobes), into)
    assert not report.made
    assert report.left_out == ["ct: label 1 is 'right lung' in one mask and 'upper lobe' in the other."]


def test_no_image_in_common_is_told(ann, tmp_path):
    other = read(tmp_path / "other", "bob", mask(), range(6), content="d" * 64)
    with pytest.raises(InputError, match="No image has slices that were reviewed in two of"):
        shared_cases(opened(ann, other))
    with pytest.raises(InputError, match="given twice"):
        shared_cases(opened(ann, ann))


def test_a_consensus_is_never_written_over_work(ann, bob):
    with Workspace(bob) as into, pytest.raises(InputError, match="not empty"):
        make_consensus(opened(ann), into)


def test_a_workspace_that_is_only_read_is_neither_changed_nor_kept_from_its_owner(ann):
    before = {path.name: path.read_bytes() for path in ann.iterdir() if path.name.startswith(JOURNAL)}
    with Workspace(ann, for_reading=True) as reading:
        assert reading.read_only
        with Workspace(ann, user="ann") as owner:
            assert not owner.read_only
            case = owner.find(CONTENT)
            owner.set_state(case, 5, "flagged")
            assert reading.states(case)[5].state == "flagged", "what the owner writes is seen"
        with pytest.raises(WorkspaceError, match="only read here"):
            reading.set_state(case, 5, "reviewed")
    assert before.keys() <= {path.name for path in ann.iterdir()}


def test_a_folder_that_is_no_workspace_is_refused_and_not_made(tmp_path):
    with pytest.raises(WorkspaceError, match="is no workspace: there is no journal"):
        Workspace(tmp_path / "nowhere", for_reading=True)
    assert not os.listdir(tmp_path)


def ended(*arguments: str) -> int:
    """The exit status of ``napari-lungseg workspace``."""
    with pytest.raises(SystemExit) as end:
        main(["workspace", *arguments])
    return int(end.value.code or 0)


def test_slices_that_were_read_blind_are_named_in_the_agreement(ann, bob, tmp_path, capsys):
    for folder, blind in ((ann, (2, 3)), (bob, (3, 5))):
        with Workspace(folder) as workspace:
            for index in blind:
                workspace.set_state(workspace.find(CONTENT), index, "reviewed", blind=BlindReading(80, 90, 100))
            assert set(find_reading(workspace, CONTENT).blind) == set(blind)
    slices = tmp_path / "slices.csv"
    assert ended("agreement", str(ann), str(bob), "--per-slice", str(slices)) == 0
    assert "ct: 4 of 6 slices were reviewed by both, 1 of them without the model's mask." in capsys.readouterr().out
    rows = list(csv.DictReader(slices.open()))
    assert {int(row["slice"]): row["read_blind"] for row in rows} == {1: "", 2: "first", 3: "first second", 4: ""}


def test_the_terminal_tells_agreement_and_makes_the_consensus(ann, bob, tmp_path, capsys):
    scores, slices = tmp_path / "scores.csv", tmp_path / "slices.csv"
    assert ended("agreement", str(ann), str(bob), "--csv", str(scores), "--per-slice", str(slices)) == 0
    told = capsys.readouterr().out
    assert "ct: 4 of 6 slices were reviewed by both." in told
    assert "0.9091" in told
    assert scores.read_text().count("\n") == 4
    assert slices.read_text().splitlines()[0].split(",")[:2] == ["case", "label"]
    assert slices.read_text().count("\n") == 1 + 3 * 4
    both = tmp_path / "both"
    assert ended("consensus", str(ann), str(bob), "-o", str(both)) == 0
    assert "ct: 4 slices, of which 4 are flagged" in capsys.readouterr().out
    assert ended("consensus", str(ann), str(bob), "-o", str(both)) == 2
    assert "not empty" in capsys.readouterr().err
    assert ended("consensus", str(ann), str(bob), "-o", str(tmp_path / "x"), "--method", "best") == 2
    assert "staple, majority" in capsys.readouterr().err
