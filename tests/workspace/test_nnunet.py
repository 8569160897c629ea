from __future__ import annotations

import json
from dataclasses import replace

import dask.array
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_ct_slice
from geometry import grids

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, write
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.workspace import Source, content_hash, export_nnunet

from .conftest import add

RNG = np.random.default_rng(0)


def image(affine, shape=(3, 4, 5)) -> Volume:
    return Volume(RNG.integers(-1000, 400, shape).astype(np.int16), affine, "HU")


def annotate(workspace, case, reviewed, most=2):
    labels = RNG.integers(0, most + 1, case.shape).astype(np.uint8)
    workspace.save(case, {index: (plane, plane) for index, plane in enumerate(case.planes(labels))}, cause="paint")
    for index in reviewed:
        workspace.set_state(case, index, "reviewed")
    return labels


@pytest.fixture
def case(workspace, volume, tmp_path):
    return add(workspace, volume, path=write(volume, tmp_path / "ct.nii.gz"), axis=1)


def exported(report):
    """Image and labels of the only case."""
    (name,) = report.written
    return report.folder / "imagesTr" / f"{name}_0000.nii.gz", report.folder / "labelsTr" / f"{name}.nii.gz"


def test_reviewed_slices_are_dense_and_the_rest_is_ignored(workspace, case, volume, tmp_path):
    labels = annotate(workspace, case, [1, 4])
    workspace.set_state(case, 2, "reviewed")
    workspace.set_state(case, 2, "flagged")
    report = export_nnunet(workspace, tmp_path / "out")
    scan, mask = exported(report)
    np.testing.assert_array_equal(read(scan).array, volume.array)
    found = read(mask).array
    np.testing.assert_array_equal(found[:, [1, 4]], labels[:, [1, 4]])
    assert (np.delete(found, [1, 4], axis=1) == 3).all()
    assert (list(report.written.values()), report.left_out) == (["ct"], [])
    assert report.text == f"Saved 1 case in {tmp_path / 'out'}."


def test_nnunet_finds_what_it_asks_for_and_training_opens_it(workspace, case, tmp_path):
    annotate(workspace, case, [0])
    report = export_nnunet(workspace, tmp_path / "out")
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "right lung": 1, "left lung": 2, "ignore": 3},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    dataset = open_dataset(tmp_path / "out")
    assert dataset.train == tuple(report.written)
    scan, labels = dataset.load(dataset.train[0])
    assert scan.shape == labels.shape


def test_image_and_labels_lie_on_one_grid_that_is_the_images(workspace, tmp_path):
    """For SimpleITK, and in RAS for nibabel."""
    affines = list(grids())[::5]
    for number, affine in enumerate(affines):
        volume = image(affine)
        case = add(workspace, volume, f"ct{number}", write(volume, tmp_path / f"{number}.nrrd"))
        annotate(workspace, case, [1])
    report = export_nnunet(workspace, tmp_path / "out")
    assert len(report.written) == len(affines)
    for name, title in report.written.items():
        affine = affines[int(title.removeprefix("ct"))]
        paths = [tmp_path / "out" / "imagesTr" / f"{name}_0000.nii.gz", tmp_path / "out" / "labelsTr" / f"{name}.nii.gz"]
        scan, mask = (sitk.ReadImage(str(path)) for path in paths)
        for get in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(scan, get)() == getattr(mask, get)()
        np.testing.assert_allclose(scan.TransformIndexToPhysicalPoint((4, 3, 2)), (affine @ (2, 3, 4, 1))[:3], atol=1e-4)
        for path in paths:
            np.testing.assert_allclose(nibabel.load(path).affine[:, [2, 1, 0, 3]], np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine, atol=1e-4)


def test_cases_that_cannot_be_exported_are_named_with_the_reason(workspace, case, volume, tmp_path):
    def another(name, path=None, reviewed=(0,), most=2):
        other = image(volume.affine)
        known = add(workspace, other, name, None if path is None else write(other, tmp_path / path))
        annotate(workspace, known, reviewed, most)
        return known

    annotate(workspace, case, [0])
    another("unreviewed", "a.nrrd", [])
    another("unknown")
    another("gone", "b.nrrd").path.unlink()
    write(image(volume.affine), another("changed", "c.nrrd").path)
    another("ribs", "d.nrrd", most=9)
    organs = Source("organs", settings={"classes": {"names": ["liver", "spleen"], "labels": [2, 1], "sides": False}})
    workspace.save(another("organs", "e.nrrd"), {}, source=organs, cause="segment")
    workspace.save(another("one", "f.nrrd", most=1), {}, source=Source("lung-ct", settings={"split_sides": False}), cause="segment")
    add(workspace, image(volume.affine), "unsaved")
    report = export_nnunet(workspace, tmp_path / "out")
    reasons = dict(report.left_out)
    assert list(report.written.values()) == ["ct"]
    for name, reason in (
        ("unreviewed", "no slice was reviewed"),
        ("unsaved", "no slice was reviewed"),
        ("unknown", "file is not known"),
        ("gone", "b.nrrd does not exist"),
        ("changed", "c.nrrd holds another image now"),
        ("ribs", "label 9"),
        ("organs", "it has spleen and liver, not lungs"),
        ("one", "not told apart into right and left"),
    ):
        assert reason in reasons[name]
        assert f"{name} ({reasons[name]})" in report.text
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["numTraining"] == 1
    assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == 3


def test_open_images_need_no_file(workspace, volume, tmp_path):
    case = add(workspace, volume)
    annotate(workspace, case, [0])
    at_hand = replace(volume, array=dask.array.from_array(volume.array, chunks=2))
    scan, _ = exported(export_nnunet(workspace, tmp_path / "out", images={case.content: at_hand}))
    np.testing.assert_array_equal(read(scan).array, volume.array)


def test_an_image_among_several_in_a_folder_is_found_by_its_content(workspace, tmp_path):
    rng = np.random.default_rng(0)
    for number in (1, 2):
        for index in (0, 1, 3):
            about = {"SeriesInstanceUID": f"1.2.{number}", "SeriesNumber": number}
            write_ct_slice(tmp_path / f"{number}_{index}.dcm", rng.integers(-1000, 500, (4, 5)), (0, 0, 3.0 * index), **about)
    second = read(tmp_path, series="2", fill_gaps=True)
    case = workspace.add_case(
        content_hash(second.array), name="ct", path=tmp_path, shape=second.shape, affine=second.affine, axis=0, unit="HU"
    )
    annotate(workspace, case, (0,))
    report = export_nnunet(workspace, tmp_path / "out")
    assert not report.left_out
    (image,) = (tmp_path / "out" / "imagesTr").iterdir()
    np.testing.assert_array_equal(read(image).array, second.array)


def test_a_single_slice_becomes_a_volume_of_one(workspace, tmp_path, volume):
    flat = Volume(volume.array[0], scaling((0.5, 0.75)), "HU")
    case = add(workspace, flat, path=write(flat, tmp_path / "a.mha"))
    labels = annotate(workspace, case, [0])
    scan, mask = exported(export_nnunet(workspace, tmp_path / "out"))
    np.testing.assert_array_equal(read(scan).array, volume.array[:1])
    np.testing.assert_array_equal(read(mask).array, labels[None])


def test_the_names_in_the_data_set_do_not_name_the_patient(workspace, volume, tmp_path):
    case = add(workspace, volume, "Doe^John", write(volume, tmp_path / "john_doe.nii.gz"))
    annotate(workspace, case, [0])
    report = export_nnunet(workspace, tmp_path / "out")
    written = " ".join(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    written += (tmp_path / "out" / "dataset.json").read_text()
    assert "doe" not in written.lower()
    assert list(report.written.values()) == ["Doe^John"]


def test_nothing_to_export_is_told_and_leaves_no_data_set(workspace, case, tmp_path):
    with pytest.raises(InputError, match=r"nothing to export: ct \(no slice was reviewed\)"):
        export_nnunet(workspace, tmp_path / "out")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    annotate(workspace, case, [0])
    export_nnunet(workspace, tmp_path / "out")


def test_a_folder_in_use_is_refused(workspace, case, tmp_path):
    annotate(workspace, case, [0])
    export_nnunet(workspace, tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path):
        with pytest.raises(InputError, match="is not empty"):
            export_nnunet(workspace, folder)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        export_nnunet(workspace, tmp_path / "file")


def test_progress_goes_from_nothing_to_all(workspace, case, volume, tmp_path):
    annotate(workspace, case, [0])
    add(workspace, image(volume.affine), "other")
    told = []
    export_nnunet(workspace, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]
