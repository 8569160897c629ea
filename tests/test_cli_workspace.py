"""``napari-lungseg workspace rescue``: files, what is lost, and one clear line where nothing can be done."""

from __future__ import annotations

import numpy as np
import pytest

from napari_lungseg import cli
from napari_lungseg.formats import read
from napari_lungseg.volume import scaling
from napari_lungseg.workspace import Workspace

AFFINE = scaling((3.0, 0.5, 0.75), (-10.0, 20.0, -300.0))


@pytest.fixture
def folder(tmp_path):
    """A workspace with two masks, one of an image whose name is no name of a file."""
    with Workspace(tmp_path / "work", user="ann") as workspace:
        for content, name in (("a" * 64, "ct"), ("b" * 64, "../Müller: 2")):
            case = workspace.add_case(content, name=name, path=None, shape=(3, 8, 9), affine=AFFINE, axis=0, unit="HU")
            slices = {index: np.full((8, 9), index + 1, np.uint8) for index in range(3)}
            workspace.save(case, {index: (plane, plane) for index, plane in slices.items()}, cause="segment")
    return tmp_path / "work"


@pytest.fixture
def run(capsys, tmp_path):
    def call(*args: str) -> tuple[int, list[str], list[str]]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["workspace", "rescue", *args])
        streams = capsys.readouterr()
        return int(ended.value.code), streams.out.splitlines(), streams.err.splitlines()

    return call


def spoil(folder, old: bytes, new: bytes) -> None:
    path = folder / "journal.sqlite"
    path.write_bytes(path.read_bytes().replace(old, new))


def test_each_mask_becomes_a_file_with_its_geometry_and_all_of_it_a_new_workspace(run, folder, tmp_path):
    before = (folder / "journal.sqlite").read_bytes()
    out = tmp_path / "out"
    status, lines, err = run(str(folder), "-o", str(out))
    assert (status, err) == (0, [])
    assert lines[:2] == [f"{out / name}: 3 slices as saved last" for name in ("ct-aaaaaaaa.nii.gz", "Müller_2-bbbbbbbb.nii.gz")]
    mask = read(out / "ct-aaaaaaaa.nii.gz")
    assert [np.unique(plane).tolist() for plane in np.asarray(mask.array)] == [[1], [2], [3]]
    np.testing.assert_allclose(mask.affine, AFFINE)
    with Workspace(out) as workspace:
        assert [summary.case.name for summary in workspace.cases()] == ["ct", "../Müller: 2"]
    assert (folder / "journal.sqlite").read_bytes() == before


def test_what_is_lost_is_listed_and_the_status_is_1(run, folder, tmp_path):
    with Workspace(folder) as workspace:
        case = workspace.cases()[0].case
        workspace.save(case, {1: (np.full((8, 9), 7, np.uint8), np.zeros((8, 9), np.uint8))}, cause="paint")
        (revision,) = workspace.revisions(case, 1)[-1:]
        row = workspace._journal._db.execute("SELECT labels FROM revisions WHERE id = ?", (revision.id,)).fetchone()[0]
    spoil(folder, row, row[:-1] + bytes([row[-1] ^ 1]))
    status, lines, err = run(str(folder / "journal.sqlite"), "-o", str(tmp_path / "out"))
    assert status == 1
    assert lines[0].endswith("ct-aaaaaaaa.nii.gz: 2 slices as saved last")
    (told,) = err
    assert told.startswith("Not as it was: mask of slice 1 of ct (saved ")
    assert np.unique(np.asarray(read(tmp_path / "out" / "ct-aaaaaaaa.nii.gz").array)[1]).tolist() == [2]


def test_a_journal_without_its_header_is_rescued(run, folder, tmp_path):
    path = folder / "journal.sqlite"
    path.write_bytes(bytes(100) + path.read_bytes()[100:])
    status, lines, _ = run(str(path), "-o", str(tmp_path / "out"))
    assert status == 0
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("source", "out", "told"),
    [
        ("nothing", "out", "does not exist"),
        ("empty", "out", "holds no journal"),
        ("noise.sqlite", "out", "holds no image that is sound"),
        ("work", "work", "is not empty"),
        ("work", "noise.sqlite", "cannot be used"),
    ],
)
def test_what_cannot_be_rescued_is_one_line_and_status_2(run, folder, tmp_path, source, out, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "noise.sqlite").write_bytes(np.random.default_rng(0).bytes(20_000))
    status, _, err = run(str(tmp_path / source), "-o", str(tmp_path / out))
    assert status == 2
    (line,) = err
    assert told in line


def test_a_workspace_that_is_open_is_left_alone(run, folder, tmp_path):
    with Workspace(folder):
        status, _, err = run(str(folder), "-o", str(tmp_path / "out"))
    assert status == 2
    assert "is open elsewhere" in err[0]
