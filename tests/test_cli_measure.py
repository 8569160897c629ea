"""``napari-lungseg measure``: the table, the files, and one clear line where something cannot be used."""

import csv
import shutil
from dataclasses import replace

import pytest
import trimesh

from napari_lungseg import cli
from napari_lungseg.formats import write
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume

#: Names instead of the file's own.
SIDES = ("--label", "1=right", "--label", "2=left")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A CT and its mask."""
    folder = tmp_path_factory.mktemp("files")
    write(sample_lungs(), folder / "lungs.nii.gz")
    write(sample_ct(), folder / "ct.nii.gz")
    return folder


@pytest.fixture
def run(capsys, monkeypatch, files, tmp_path):
    """Run the command in a folder with a CT and its mask; gives exit status, stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)

    def call(*args: str) -> tuple[int, str, list[str]]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["measure", *args])
        streams = capsys.readouterr()
        return int(ended.value.code), streams.out, streams.err.splitlines()

    return call


def test_table_csv_report_and_mesh(run, tmp_path):
    status, out, err = run(
        "lungs.nii.gz", "--image", "ct.nii.gz", "--csv", "lungs.csv", "--report", "lungs.html", "--mesh", "lungs.stl", *SIDES
    )
    assert status == 0
    assert out.splitlines()[1].split() == ["Volume", "(mL)", "1245.5", "1606.8", "2852.3"]
    assert "Perc15 (HU)" in out
    assert err == ["Right: cut off by the border of the image (feet); all is of the part inside."]
    rows = list(csv.DictReader((tmp_path / "lungs.csv").open(encoding="utf-8")))
    assert [(row["case"], row["region"]) for row in rows] == [("lungs", "right"), ("lungs", "left"), ("lungs", "together")]
    assert "<svg" in (tmp_path / "lungs.html").read_text(encoding="utf-8")
    assert trimesh.load_mesh(tmp_path / "lungs.stl").volume / 1000 == pytest.approx(float(rows[2]["volume_ml"]), rel=0.01)


def test_regions_have_the_names_in_the_file_or_their_numbers(run, tmp_path):
    few = sample_lungs().crop((slice(10, 13), slice(110, 140), slice(60, 200)))
    write(few, "lungs.nii.gz")
    write(replace(few, names={1: "right lung", 2: "left lung"}), "lungs.seg.nrrd")
    write(replace(few, names=None), "plain.nii.gz")
    sides, numbers = ["right lung", "left lung"], ["label 1", "label 2"]
    for file, names in (("lungs.nii.gz", sides), ("plain.nii.gz", numbers), ("lungs.seg.nrrd", sides)):
        run(file, "--csv", "names.csv")
        named = list(csv.DictReader((tmp_path / "names.csv").open(encoding="utf-8")))
        assert [row["region"] for row in named] == [*names, "together"]


def test_the_image_may_be_left_out(run):
    status, out, _ = run("lungs.nii.gz")
    assert status == 0
    assert "Surface" in out
    assert "HU" not in out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nothing.nii.gz"], "does not exist"),
        (["lungs.nii.gz", "--image", "other.nii.gz"], "different grids"),
        (["ct.nii.gz"], "choose a mask"),
        (["lungs.nii.gz", "--mesh", "lungs.vtk"], ".glb"),
        (["lungs.nii.gz", "--csv", "nowhere/lungs.csv"], "does not exist"),
        (["lungs.nii.gz", "--report", "nowhere/lungs.html"], "does not exist"),
        (["lungs.png", "--mesh", "lungs.stl"], "no surface in mm"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(run, args, told, tmp_path):
    write(sample_ct().crop((slice(0, 9), slice(None), slice(None))), "other.nii.gz")
    write(Volume(sample_lungs().array[10], sample_lungs().affine), "lungs.png")
    before = set(tmp_path.iterdir())
    status, _, err = run(*args)
    assert status == 2
    assert len(err) == 1
    assert err[0].startswith("napari-lungseg: ")
    assert told in err[0]
    assert set(tmp_path.iterdir()) == before
