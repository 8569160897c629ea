"""The terminal: files appear where they should, and failures are one clear line and the right exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_ct_slice
from phantom import chest, chest_model, dice, two_class_model

from napari_lungseg import __version__, cli
from napari_lungseg.batch_paths import RECORDS
from napari_lungseg.formats import write
from napari_lungseg.model import FOLDER_VARIABLE, save_model, user_folder
from napari_lungseg.volume import Volume


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_model(chest_model(), tmp_path_factory.mktemp("models") / "chest"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write(chest(slices=4)[0], tmp_path / "ct.nii.gz")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the program in a folder of its own; gives exit status, lines of stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))

    def call(*args) -> tuple[int, list[str], list[str]]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(arg) for arg in args])
        streams = capsys.readouterr()
        return int(ended.value.code), streams.out.splitlines(), streams.err.splitlines()

    return call


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and RECORDS not in path.parts}


def labels_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_one_scan_to_one_file_with_the_inputs_geometry(run, scan, model, tmp_path):
    status, out, err = run("segment", scan, "-o", "lungs.nrrd", "--model", model)
    assert (status, err) == (0, [])
    assert "lungs.nrrd" in out[0]
    assert "mL" in out[0]
    ct, result = sitk.ReadImage(str(scan)), sitk.ReadImage("lungs.nrrd")
    for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(result, fact)() == pytest.approx(getattr(ct, fact)())
    assert dice(sitk.GetArrayFromImage(result) > 0, chest(slices=4)[1]) > 0.99
    assert files_in(tmp_path) == {"ct.nii.gz", "lungs.nrrd"}


def test_probability_and_report_lie_beside_the_labels(run, scan, model):
    status, _, _ = run("segment", scan, "-o", "x.nii.gz", "--model", model, "--save-probability", "--report", "run.json")
    assert status == 0
    assert labels_of("x_probability.nii.gz").max() > 90
    (record,) = json.loads(Path("run.json").read_text())["runs"]
    assert record["output"] == "x.nii.gz"
    assert record["model"] == "chest"
    assert len(record["weights_sha256"]) == 64
    labels = labels_of("x.nii.gz")
    assert record["voxels"] == {"right": np.count_nonzero(labels == 1), "left": np.count_nonzero(labels == 2)}
    assert record["volume_ml"]["right"] == pytest.approx(record["voxels"]["right"] * 0.096, abs=0.001)
    assert record["seconds"] > 0
    assert record["unit"] == "HU"
    assert "in HU" in record["why_unit"]


def test_what_the_numbers_mean_can_be_said(run, scan, model):
    status, _, _ = run("segment", scan, "-o", "x.nii.gz", "--model", model, "--unit", "arbitrary", "--report", "run.json")
    assert status == 0
    (record,) = json.loads(Path("run.json").read_text())["runs"]
    assert (record["unit"], record["why_unit"]) == ("arbitrary", "The person said so.")
    assert run("segment", scan, "-o", "y.nii.gz", "--model", model, "--unit", "grey")[0] == 2


def test_the_volume_of_each_class_is_told_by_its_name(run, scan, tmp_path):
    folder = save_model(two_class_model(), tmp_path / "two")
    status, out, _ = run("segment", scan, "-o", "x.nii.gz", "--model", folder, "--report", "run.json")
    assert status == 0
    assert re.search(r"right \d+ mL, left \d+ mL, bone \d+\.\d mL", out[0])
    (record,) = json.loads(Path("run.json").read_text())["runs"]
    labels = labels_of("x.nii.gz")
    assert record["voxels"] == {name: np.count_nonzero(labels == label) for name, label in (("right", 1), ("left", 2), ("bone", 3))}
    assert record["voxels"]["bone"] > 0
    write(Volume(chest(slices=4)[0].array[1], np.eye(4), "HU", spacing_known=False), tmp_path / "bare.tif")
    assert re.search(r"bone \d+ voxels", run("segment", "bare.tif", "-o", "y.tif", "--model", folder)[1][0])


def test_without_post_processing_there_is_one_label(run, scan, model):
    assert run("segment", scan, "-o", "x.nii.gz", "--model", model, "--no-postprocess")[0] == 0
    assert set(np.unique(labels_of("x.nii.gz"))) == {0, 1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_of_scans_to_a_folder(run, model, tmp_path, jobs):
    scans = tmp_path / "scans"
    scans.mkdir()
    volume, lungs = chest(slices=3)
    write(volume, scans / "a.nii.gz")
    write(volume, scans / "b.mha")
    write(Volume(volume.array[1], volume.affine, "HU"), scans / "c.tif")
    status, out, _ = run("segment", scans, "-o", "out", "--model", model, "--jobs", jobs)
    assert status == 0
    assert files_in(tmp_path / "out") == {"a_lungs.nii.gz", "b_lungs.mha", "c_lungs.tif"}
    assert len(out) == 3
    assert dice(labels_of(tmp_path / "out" / "b_lungs.mha") > 0, lungs) > 0.99


def test_scans_of_the_same_name_are_told_apart_by_their_folders(run, model, tmp_path):
    volume, _ = chest(slices=2)
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        write(volume, tmp_path / patient / "ct.nii.gz")
    assert run("segment", "p1/ct.nii.gz", "p2/ct.nii.gz", "-o", "out", "--model", model)[0] == 0
    assert files_in(tmp_path / "out") == {"p1_ct_lungs.nii.gz", "p2_ct_lungs.nii.gz"}


def test_results_in_the_same_folder_are_not_segmented_again(run, scan, model, tmp_path):
    for _ in range(2):
        assert run("segment", tmp_path, "-o", tmp_path, "--model", model, "--save-probability")[0] == 0
    assert files_in(tmp_path) == {"ct.nii.gz", "ct_lungs.nii.gz", "ct_probability.nii.gz"}


def test_a_segmentation_is_no_image(run, scan, model, tmp_path):
    volume = chest(slices=4)[0]
    labels = volume.with_array((np.asarray(volume.array) > 0).astype(np.uint8))
    write(labels, tmp_path / "lungs.seg.nrrd", {1: "both lungs"})
    status, _, err = run("segment", tmp_path, "-o", "out", "--model", model)
    assert status == 1
    assert files_in(tmp_path / "out") == {"ct_lungs.nii.gz"}
    (line,) = [line for line in err if "lungs.seg.nrrd" in line]
    assert "holds labels (both lungs), not an image" in line


def test_some_failures_are_named_and_the_rest_is_written(run, scan, model, tmp_path):
    (tmp_path / "bad.nii.gz").write_bytes(scan.read_bytes()[:200])
    status, out, err = run("segment", "bad.nii.gz", scan, "missing.mha", "-o", "out", "--model", model, "--report", "run.json")
    assert status == 1
    assert len(out) == 1
    assert files_in(tmp_path / "out") == {"ct_lungs.nii.gz"}
    assert len([line for line in err if "bad.nii.gz" in line]) == 1
    assert len([line for line in err if "missing.mha" in line]) == 1
    runs = json.loads(Path("run.json").read_text())["runs"]
    assert sum("error" in record for record in runs) == 2


@pytest.fixture
def dicom(tmp_path):
    """The chest as two DICOM series in one folder, the second of two slices only."""
    volume, lungs = chest(slices=4)
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number, count in ((1, 4), (2, 2)):
        for index in range(count):
            about = {"SeriesInstanceUID": f"1.2.{number}", "SeriesNumber": number, "SeriesDescription": f"chest {number}"}
            write_ct_slice(
                folder / f"{number}_{index}.dcm", np.asarray(volume.array[index]), (0, 0, 6.0 * index), PixelSpacing=[4.0, 4.0], **about
            )
    return folder, volume, lungs


def test_a_series_is_chosen_where_there_are_several(run, dicom, model):
    folder, _, lungs = dicom
    status, out, err = run("segment", folder, "-o", "x.nrrd", "--model", model)
    assert (status, out, len(err)) == (2, [], 1)
    for words in ("1: 'chest 1', CT, 96 x 72 x 4, 4 x 4 x 6 mm", "2: 'chest 2', CT, 96 x 72 x 2", "--series"):
        assert words in err[0]
    for wanted in ("1", "chest 1"):
        assert run("segment", folder, "-o", "x.nrrd", "--model", model, "--series", wanted)[0] == 0
        assert dice(labels_of("x.nrrd") > 0, lungs) > 0.99


def test_gaps_are_named_and_filled_on_request(run, dicom, model):
    folder, _, lungs = dicom
    (folder / "1_1.dcm").unlink()
    status, _, err = run("segment", folder, "-o", "x.nrrd", "--model", model, "--series", "1")
    assert (status, len(err)) == (2, 1)
    assert "not evenly spaced" in err[0]
    assert "--fill-gaps" in err[0]
    assert run("segment", folder, "-o", "x.nrrd", "--model", model, "--series", "1", "--fill-gaps")[0] == 0
    assert dice(labels_of("x.nrrd")[0] > 0, lungs[0]) > 0.99


def test_a_dicom_series_gets_a_dicom_seg_with_the_probability_beside_it(run, dicom, model, tmp_path):
    folder, _, lungs = dicom
    status, _, _ = run("segment", folder, "-o", "lungs.dcm", "--model", model, "--series", "1", "--save-probability")
    assert status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"dicom", "lungs.dcm", "lungs_probability.nii.gz"}
    found = highdicom.seg.segread("lungs.dcm").get_volume(combine_segments=True)
    assert dice(found.array[:: int(found.affine[2, 0] / 6)] > 0, lungs) > 0.99  # highdicom may begin at either end


def test_numbered_pictures_are_a_volume_where_one_file_is_asked_for(run, model, tmp_path):
    volume, _ = chest(slices=3)
    (tmp_path / "ct").mkdir()
    write(Volume((volume.array.clip(-1000, 1000) + 1000).astype(np.uint16), volume.affine), tmp_path / "ct" / "slice.png")
    assert run("segment", tmp_path / "ct" / "slice", "-o", "lungs.nii.gz", "--model", model)[0] == 0
    assert labels_of("lungs.nii.gz").shape == volume.shape
    assert run("segment", tmp_path / "ct" / "slice", "-o", "lungs.png", "--model", model, "--report", "run.json")[0] == 0
    assert sorted(path.name for path in (tmp_path / "lungs").iterdir()) == [f"lungs_{index:04d}.png" for index in range(3)]
    assert json.loads(Path("run.json").read_text())["runs"][0]["output"] == "lungs"
    assert run("segment", tmp_path / "ct" / "slice", "-o", "out", "--model", model)[0] == 0
    assert len(files_in(tmp_path / "out")) == 3


def text_file(folder: Path) -> list[str]:
    (folder / "notes.nii.gz").write_text("not an image")
    return ["notes.nii.gz", "-o", "x.nii.gz"]


def truncated(folder: Path) -> list[str]:
    (folder / "cut.nii.gz").write_bytes((folder / "ct.nii.gz").read_bytes()[:500])
    return ["cut.nii.gz", "-o", "x.nii.gz"]


def empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["empty", "-o", "out"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (text_file, "notes.nii.gz"),
        (truncated, "cut.nii.gz"),
        (empty_folder, "empty"),
        (lambda f: ["nowhere.nii.gz", "-o", "x.nii.gz"], "nowhere.nii.gz"),
        (lambda f: ["ct.nii.gz", "-o", "x.xyz"], "x.xyz"),
        (lambda f: ["ct.nii.gz", "-o", "x.dcm"], "ct.nii.gz"),
        (lambda f: ["ct.nii.gz", "-o", "nowhere/x.nii.gz"], "nowhere"),
        (lambda f: ["ct.nii.gz", "-o", "ct.nii.gz"], "replace the input"),
        (lambda f: ["ct.nii.gz", "nowhere.mha", "-o", "x.nii.gz"], "x.nii.gz"),
        (lambda f: ["ct.nii.gz", "-o", "x.nii.gz", "--threshold", "7"], "threshold"),
        (lambda f: ["ct.nii.gz", "-o", "x.nii.gz", "--threshold", "much"], "--threshold"),
        (lambda f: ["ct.nii.gz", "-o", "x.nii.gz", "--device", "abacus"], "abacus"),
        (lambda f: ["ct.nii.gz", "-o", "x.nii.gz", "--jobs", "0"], "jobs"),
        (lambda f: ["ct.nii.gz", "-o", "x.nii.gz", "--report", "nowhere/run.json"], "nowhere"),
        (lambda f: ["ct.nii.gz", "-o", "x.nii.gz", "--surprise"], "--surprise"),
        (lambda f: ["ct.nii.gz"], "--output"),
        (lambda f: ["-o", "x.nii.gz"], "INPUT"),
    ],
)
def test_unusable_input_is_one_line_status_2_and_nothing_written(run, scan, model, tmp_path, make, said):
    arguments = make(tmp_path)
    before = files_in(tmp_path)
    folders = {path for path in tmp_path.rglob("*") if path.is_dir()}
    status, out, err = run("segment", *arguments, "--model", model)
    assert (status, out, len(err)) == (2, [], 1)
    assert said in err[0]
    assert files_in(tmp_path) == before
    assert {path for path in tmp_path.rglob("*") if path.is_dir()} == folders


def test_an_unknown_model_is_named_before_anything_is_read(run, scan, tmp_path):
    status, _, err = run("segment", scan, "-o", "x.nii.gz", "--model", "nope")
    assert status == 2
    assert len(err) == 1
    assert "nope" in err[0]
    assert files_in(tmp_path) == {"ct.nii.gz"}


def test_unknown_commands_are_one_line(run):
    status, _, err = run("segmnt")
    assert (status, len(err)) == (2, 1)
    assert "segmnt" in err[0]


def test_models_are_listed_shown_imported_and_removed(run, model):
    assert run("models", "import", model)[0] == 0
    assert any(line.startswith("chest  (user)") for line in run("models", "list")[1])
    status, out, _ = run("models", "show", "chest")
    assert status == 0
    assert json.loads("\n".join(out))["name"] == "chest"
    assert run("models", "remove", "chest")[0] == 0
    status, _, err = run("models", "show", "chest")
    assert (status, len(err)) == (2, 1)


def test_a_candidate_is_marked_until_it_is_accepted(run, model):
    assert run("models", "import", model)[0] == 0
    card = user_folder() / "chest" / "card.json"
    card.write_text(card.read_text(encoding="utf-8").replace('"accepted": true', '"accepted": false'), encoding="utf-8")
    assert any(line.startswith("chest  (user)  (candidate)") for line in run("models", "list")[1])
    assert run("models", "accept", "chest") == (0, ["Accepted chest"], [])
    assert not any("(candidate)" in line for line in run("models", "list")[1])
    assert run("models", "remove", "chest")[0] == 0
    status, _, err = run("models", "accept", "chest")
    assert (status, len(err)) == (2, 1)


def test_version_and_help_say_what_it_is_for(run):
    status, out, _ = run("--version")
    assert status == 0
    assert __version__ in out[0]
    for arguments in (["--version"], ["--help"], []):
        status, out, _ = run(*arguments)
        assert status == 0
        assert "for research, not for diagnosis" in "\n".join(out).lower()


def test_help_of_every_command_comes_without_torch(tmp_path):
    code = (
        "import sys\nfrom napari_lungseg import cli\n"
        "for command in sys.argv[1:]:\n"
        "    try: cli.main([*command.split(), '--help'])\n"
        "    except SystemExit as ended: assert ended.code == 0, command\n"
        "sys.exit('torch' in sys.modules or 'napari' in sys.modules)"
    )
    models = [f"models {name}" for name in ("list", "show", "import", "accept", "remove")]
    commands = ["segment", "train", "evaluate", *models, "workspace rescue", "demo"]
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--save-probability", "--no-postprocess", "--report", "--jobs", "--screenshot", "--per-slice", "--tolerance-mm"):
        assert option in done.stdout


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "napari_lungseg", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert __version__ in done.stdout
