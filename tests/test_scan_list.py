"""A list of scans says what is segmented, under which name, and what of it; a bad row costs that row alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from phantom import chest, chest_model

from napari_lungseg import cli
from napari_lungseg.batch_paths import RECORDS
from napari_lungseg.formats import write
from napari_lungseg.model import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_model(chest_model(), tmp_path_factory.mktemp("models") / "chest"))


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, model):
    """Segment a list that lies in ``lists``, beside the scans a and b; gives exit status, results, records by input, lines of stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    for seed, name in enumerate("ab"):
        write(chest(slices=3, seed=seed)[0], tmp_path / "lists" / f"{name}.nii.gz")

    def call(text: str | bytes, *args, output="out") -> tuple[int, set[str], dict[str, dict], list[str]]:
        Path("lists/scans.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SystemExit) as ended:
            cli.main(["segment", "lists/scans.csv", *args, "-o", output, "--report", "run.json", "--model", model])
        results = {str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file() and RECORDS not in path.parts}
        runs = json.loads(Path("run.json").read_text())["runs"] if Path("run.json").exists() else []
        return int(ended.value.code), results, {one["input"]: one for one in runs}, capsys.readouterr().err.splitlines()

    return call


@pytest.mark.parametrize(
    "text",
    [
        "path\na.nii.gz\nb.nii.gz\n",
        "\ufeffPath;age\r\na.nii.gz;61\r\n\r\nb.nii.gz;\r\n",
        'path\tnote\n"a.nii.gz"\t"two\nlines"\nb.nii.gz\tx\n',
    ],
    ids=["plain", "of a spreadsheet", "with tabs"],
)
def test_paths_are_relative_to_the_list(run, text):
    status, results, _, err = run(text)
    assert (status, err) == (0, [])
    assert results == {"a_lungs.nii.gz", "b_lungs.nii.gz"}


def test_a_row_names_its_result_and_what_its_numbers_mean(run):
    status, results, records, _ = run("path,output,unit\na.nii.gz,site1/x.nrrd,arbitrary\nb.nii.gz,,\n")
    assert (status, results) == (0, {"site1/x.nrrd", "b_lungs.nii.gz"})
    assert [one["why_unit"] == "The person said so." for one in records.values()] == [True, False]


def test_a_row_chooses_the_point_of_time(run):
    import nibabel

    volumes = [np.asarray(chest(slices=3, seed=seed)[0].array).T for seed in range(2)]
    nibabel.save(nibabel.Nifti1Image(np.stack(volumes, -1).astype(np.int16), np.diag([4.0, 4.0, 6.0, 1.0])), "lists/four.nii.gz")
    status, results, _, err = run(
        "path,series,output\nfour.nii.gz,1,first.nii.gz\nfour.nii.gz,2,second.nii.gz\nfour.nii.gz,,third.nii.gz\n"
    )
    assert (status, results) == (1, {"first.nii.gz", "second.nii.gz"})
    assert any("four.nii.gz" in line for line in err)


def test_bad_rows_are_told_with_their_line_and_the_rest_goes_on(run):
    rows = [
        "path,output,unit",
        "a.nii.gz,,",
        "missing.nii.gz,,",
        ",x.nii.gz,",
        "b.nii.gz,,Kelvin",
        "b.nii.gz,x.doc,",
        "a.nii.gz,,",
        "b.nii.gz,,,c",
    ]
    status, results, _, err = run("\n".join([*rows, "b.nii.gz,../lists/a.nii.gz,", "b.nii.gz,,hu"]))
    assert (status, results) == (1, {"a_lungs.nii.gz", "b_lungs.nii.gz"})
    told = {number: [line for line in err if f"scans.csv, line {number}:" in line] for number in range(1, 11)}
    assert {number for number, lines in told.items() if lines} == {3, 4, 5, 6, 7, 8, 9}
    assert all(len(lines) <= 1 for lines in told.values())
    assert "does not exist" in told[3][0]
    assert "Kelvin" in told[5][0]
    assert "would both be written" in told[7][0]
    assert "would replace the input" in told[9][0]
    assert "7 of 9 scans failed" in err[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "column called path"),
        (b"file\na.nii.gz\n", "column called path"),
        (b"path,path\na,b\n", "column called path"),
        (b"path\n", "lists no scans"),
        ("path\nä.nii.gz\n".encode("utf-16"), "UTF-8"),
        (b"path\n\x00a\n", "scans.csv"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_sentence(run, text, said):
    status, results, _, err = run(text)
    assert (status, results, len(err)) == (2, set(), 1)
    assert said in err[0]


def test_a_list_goes_into_a_folder(run):
    status, _, _, err = run("path\na.nii.gz\n", output="x.nii.gz")
    assert (status, len(err)) == (2, 1)
    assert "give a folder for the results of a list" in err[0]


def test_a_list_that_was_done_is_done(run):
    run("path,output\na.nii.gz,x.nii.gz\nb.nii.gz,y/z.mha\n")
    *_, err = run("path,output\nb.nii.gz,y/z.mha\na.nii.gz,x.nii.gz\n", "--jobs", "2")
    assert err == ["2 of 2 were done already; --again segments all anew."]
