"""The table and the page that people get."""

from __future__ import annotations

import base64
import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from geometry import stored_otherwise
from PIL import Image

from napari_lungseg.measurement import as_rows, measure, summary, write_report
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.tables import as_csv
from napari_lungseg.volume import Volume, scaling

LABELS, CT = sample_lungs(), sample_ct()


@pytest.fixture(scope="module")
def measured():
    return measure(LABELS, CT)


def pictures(page: str) -> dict[str, np.ndarray]:
    found = re.findall(r'alt="(\w+)" src="data:image/png;base64,([^"]+)"', page)
    return {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))).astype(int) for name, code in found}


def test_rows_hold_every_number_under_a_name_with_its_unit(measured):
    right, _, both = csv.DictReader(io.StringIO(as_csv(as_rows(measured, "case, 1"))))
    region = measured.regions[0]
    assert (right["case"], right["region"], right["label"], right["cut_off"]) == ("case, 1", "right", "1", "feet")
    assert float(right["volume_ml"]) == region.volume_ml
    assert float(right["largest_area_cm2"]) == region.profile.area_cm2.max()
    assert float(right["centroid_z_mm"]) == region.centroid_mm[2]
    assert float(right["oriented_box_a_mm"]) == region.oriented_box.size_mm[0]
    assert float(right["collapsed_percent"]) == region.density.ranges_percent["collapsed"]
    assert float(right["p95_hu"]) == region.density.percentiles_hu[95]
    assert (int(right["box_start_y"]), int(right["box_stop_y"])) == region.box_index[1]
    assert (both["label"], float(both["left_right_ratio"])) == ("", measured.left_right_ratio)


def test_rows_keep_their_columns_where_nothing_was_measured(measured):
    bare = measure(Volume(LABELS.array, np.eye(4), spacing_known=False))
    rows = as_rows(bare, "bare")
    assert list(rows[0]) == list(as_rows(measured, "full")[0])
    assert rows[0]["volume_ml"] is None
    assert rows[0]["mean_hu"] is None
    assert "Volume (mL)" not in dict(summary(bare).lines)


def test_the_summary_has_a_column_for_each_region(measured):
    made = summary(measured)
    assert made.columns == ("right", "left", "together")
    lines = dict(made.lines)
    assert lines["Volume (mL)"] == ("1245.5", "1606.8", "2852.3")
    assert lines["Left / right"] == ("", "", "1.290")
    assert lines["Cut off at"] == ("feet", "-", "feet")


def test_the_page_shows_table_notes_pictures_and_curves(measured, tmp_path):
    page = write_report(tmp_path / "case.html", "A & <B>", measured, LABELS, CT).read_text(encoding="utf-8")
    assert "<h1>A &amp; &lt;B&gt;</h1>" in page
    assert "not for diagnosis" in page
    assert "cut off by the border" in page
    for _, cells in summary(measured).lines:
        assert all(cell in page for cell in cells)
    assert set(pictures(page)) == {"axial", "coronal", "sagittal"}
    charts = [ElementTree.fromstring(chart) for chart in re.findall(r"<svg.*?</svg>", page)]
    assert [len(chart.findall("polyline")) for chart in charts] == [2, 2]
    # It needs nothing else.
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), ()), ((0, 1, 2), (0, 2)), ((2, 0, 1), (1,))])
def test_pictures_lie_as_a_radiologist_expects(order, flips, tmp_path):
    array = np.zeros((20, 24, 28), np.uint8)
    array[14:19, 2:8, 3:10] = 1  # in the head, in front, on the right of the patient
    labels = Volume(*stored_otherwise(array, scaling((4.0, 1.0, 1.0)), order, flips))
    page = write_report(tmp_path / "case.html", "case", measure(labels), labels).read_text(encoding="utf-8")
    for name, size in {"axial": (24, 28), "coronal": (80, 28), "sagittal": (80, 24)}.items():
        picture = pictures(page)[name]
        height, width = picture.shape[:2]
        assert height / width == pytest.approx(size[0] / size[1], rel=0.02)
        row, column = np.argwhere(picture.any(axis=-1)).mean(axis=0)
        assert row < height / 2  # the front up, the head up
        assert column < width / 2  # the right on the left; the front on the left of a sagittal picture


def test_without_hu_or_image_the_page_has_what_there_is(tmp_path):
    for image in (None, replace(CT, unit="arbitrary")):
        made = measure(LABELS, image)
        page = write_report(tmp_path / "case.html", "case", made, LABELS, image).read_text(encoding="utf-8")
        assert len(pictures(page)) == 3
        assert len(re.findall("<svg", page)) == 1


def test_a_single_slice_has_one_picture(tmp_path):
    labels, image = (Volume(volume.array[12], volume.affine, volume.unit) for volume in (LABELS, CT))
    page = write_report(tmp_path / "slice.html", "slice", measure(labels, image), labels, image).read_text(encoding="utf-8")
    assert list(pictures(page)) == ["axial"]
