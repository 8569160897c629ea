"""Which case needs a look first, and the table and page that say so."""

from __future__ import annotations

import base64
import csv
import io
import os
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_ct_slice
from geometry import stored_otherwise
from phantom import chest, chest_model
from PIL import Image

from napari_lungseg import cli
from napari_lungseg.batch_paths import RECORDS
from napari_lungseg.cases import (
    CASES_CSV,
    CASES_HTML,
    CASES_PARQUET,
    Entry,
    coronal_picture,
    measure_case,
    rank_cases,
    read_cases,
    unlike_training,
    write_cases,
)
from napari_lungseg.cases.likeness import difference, from_card, grey_shares, to_card
from napari_lungseg.cases.ranking import MOST_UNLIKE
from napari_lungseg.comparison import pairs
from napari_lungseg.errors import InputError
from napari_lungseg.formats import scans_in, write
from napari_lungseg.model import DEFAULT_MODEL, FOLDER_VARIABLE, load_model, save_model
from napari_lungseg.review import measure_slices
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume, scaling

SIDES = {1: "right", 2: "left"}


def body(right_mm: int = 120, left_mm: int = 105, spacing: tuple[float, float, float] = (6.0, 4.0, 4.0)) -> Volume:
    """Two boxes of lung, 200 mm high and 140 mm deep, in a field of 300 x 200 x 400 mm: 3360 and 2940 mL by default."""
    steps = np.array(spacing)
    array = np.zeros(tuple((np.array((300.0, 200.0, 400.0)) / steps).round().astype(int)), np.uint8)
    (z0, y0, _), (z1, y1, _) = np.array((48.0, 32.0, 0.0)) / steps, np.array((248.0, 172.0, 0.0)) / steps
    tall, deep = slice(round(z0), round(z1)), slice(round(y0), round(y1))
    array[tall, deep, round(40 / steps[2]) : round((40 + right_mm) / steps[2])] = 1
    array[tall, deep, round(220 / steps[2]) : round((220 + left_mm) / steps[2])] = 2
    return Volume(array, scaling(spacing), names=SIDES)


def kinds(labels: Volume) -> list[str]:
    return [oddity.kind for oddity in measure_case(labels).oddities]


def changed(labels: Volume, **boxes: tuple[slice, ...]) -> Volume:
    array = labels.array.copy()
    for label, box in boxes.items():
        array[box] = int(label[1:])
    return labels.with_array(array)


def test_a_usual_chest_has_no_oddities():
    measures = measure_case(body())
    assert measures.oddities == ()
    assert (measures.parts, measures.right_left) == (2, pytest.approx(120 / 104, rel=0.01))
    assert measures.volume_ml == pytest.approx(measures.right_ml + measures.left_ml)
    assert measures.right_ml == pytest.approx(198 * 140 * 120 / 1000)


def test_an_image_of_which_the_greys_are_unlike_the_training_is_told_after_a_missing_side_and_before_all_else():
    usual, unlike = (measure_case(body(right_mm=24, left_mm=20), unlike=share) for share in (0.2, 0.35))
    assert [oddity.kind for oddity in usual.oddities] == ["volume"]
    assert [oddity.kind for oddity in unlike.oddities] == ["unlike training", "volume"]
    assert "35 % of the body" in unlike.oddities[0].text
    assert unlike.unlike_percent == pytest.approx(35)
    sideless = measure_case(body(left_mm=0))
    cases = {"a": usual, "b": unlike, "c": sideless, "d": measure_case(body(), unlike=0.5)}
    assert rank_cases(cases) == ["c", "b", "d", "a"]


def test_greys_tell_windows_and_inverted_images_from_those_of_the_training():
    card, image = load_model(DEFAULT_MODEL).card, sample_ct()
    values = np.asarray(image.array, np.float32)
    assert unlike_training(image, card) < 0.2
    for low, high, sign in ((-160, 240, 1), (-1350, 150, 1), (-1250, 250, -1)):
        seen = np.clip((values - low) / (high - low), 0, 1)
        seen = (255 * (seen if sign > 0 else 1 - seen)).astype(np.uint8)
        changed = replace(image, array=seen, unit="arbitrary")
        assert 100 * unlike_training(changed, card) > MOST_UNLIKE
    assert unlike_training(replace(image, array=np.full_like(image.array, -1000)), card) is None
    assert unlike_training(image, replace(card, training={})) is None


def test_greys_are_counted_alike_however_the_image_is_stored_and_are_kept_in_the_card():
    card, image = load_model(DEFAULT_MODEL).card, sample_ct()
    shares = grey_shares(image, card.preprocessing)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        grey_shares(Volume(*stored_otherwise(image.array, image.affine, (2, 0, 1), (0, 2)), image.unit), card.preprocessing),
        shares,
        atol=0.01,
    )
    np.testing.assert_allclose(from_card(to_card({"a": shares})), [shares], atol=1e-4)
    assert difference(shares, np.array([shares, 1 - shares])) == 0
    for broken in ("1 2 3", {"a": "1 2 x"}, {"a": "1 2 3"}):
        with pytest.raises(InputError, match="grey values"):
            unlike_training(image, replace(card, training={"greys": broken}))


def test_the_expected_error_is_that_of_the_slices_in_ml():
    labels = sample_lungs()
    percent = np.where(labels.array > 0, 95, 2).astype(np.uint8)
    percent[3, 20:40, 30:60] = 50
    areas = measure_slices(labels.array, labels.spacing, percent).expected_error_mm2()
    measures = measure_case(labels, labels.with_array(percent))
    assert measures.expected_error_ml == pytest.approx(areas.sum() * labels.spacing[0] / 1000.0)
    assert measures.expected_error_percent == pytest.approx(100 * measures.expected_error_ml / measures.volume_ml)


@pytest.mark.parametrize(
    ("labels", "kind", "value"),
    [
        (replace(body(), array=np.zeros_like(body().array)), "no lung", 0.0),
        (body(left_mm=0), "side missing", 1.0),
        (body(right_mm=24, left_mm=20), "volume", 198 * 140 * 44 / 1000),
        (body(left_mm=60), "right/left", 2.0),
        (changed(body(), _1=(slice(2, 6), slice(2, 10), slice(2, 10))), "parts", 3.0),
        (changed(body(), _1=(slice(0, 10), slice(10, 40), slice(12, 38))), "cut off", 30 * 26 * 0.16),
    ],
)
def test_each_oddity_is_told_with_its_figure(labels, kind, value):
    oddity = next(oddity for oddity in measure_case(labels).oddities if oddity.kind == kind)
    assert oddity.value == pytest.approx(value, rel=0.02)
    low, high = oddity.bounds
    assert (low is not None and oddity.value < low) or (high is not None and oddity.value > high)
    assert "usual" in oddity.text
    assert oddity.text.endswith(".")


def test_specks_are_no_parts_and_a_touch_of_the_border_is_no_cut():
    specks = changed(body(), _1=(slice(2, 4), slice(2, 5), slice(2, 5)), _2=(slice(0, 1), slice(10, 12), slice(60, 62)))
    assert kinds(specks) == []


@pytest.mark.parametrize(("order", "flips"), [((0, 1, 2), ()), ((2, 0, 1), (1,)), ((1, 2, 0), (0, 2))])
def test_measures_do_not_depend_on_how_the_volume_is_stored(order, flips):
    labels = changed(body(), _1=(slice(0, 10), slice(10, 40), slice(12, 38)))
    turned = Volume(*stored_otherwise(labels.array, labels.affine, order, flips), names=SIDES)
    one, other = measure_case(labels), measure_case(turned)
    assert [oddity.text for oddity in one.oddities] == [oddity.text for oddity in other.oddities]
    assert "at the feet" in one.oddities[0].text
    assert one.expected_error_ml == pytest.approx(other.expected_error_ml)


def test_slices_slabs_and_images_without_a_size_are_not_compared_with_a_chest():
    labels = body(left_mm=40)
    assert kinds(labels.crop((slice(20, 30), slice(None), slice(None)))) == ["cut off", "cut off"]
    assert kinds(Volume(labels.array[20], labels.affine, names=SIDES)) == []
    assert kinds(replace(labels, spacing_known=False)) == []
    bare = measure_case(replace(labels, spacing_known=False))
    assert (bare.volume_ml, bare.expected_error_ml) == (None, None)
    assert bare.expected_error_percent is not None


def test_what_is_no_lung_by_its_name_is_not_judged_as_one():
    assert kinds(replace(body(left_mm=0), names={1: "tumour"})) == []
    assert kinds(replace(body(left_mm=0), names={1: "lungs"})) == []
    assert kinds(replace(changed(body(), _3=(slice(2, 6), slice(2, 10), slice(2, 10))), names=SIDES | {3: "bone"})) == []


def test_the_gravest_come_first_in_whatever_order_the_cases_are_given():
    wavering, sure = body(), body()
    doubt = np.where(wavering.array > 0, 60, 2).astype(np.uint8)
    cases = {
        "b usual": measure_case(sure),
        "a usual": measure_case(sure),
        "doubt": measure_case(wavering, wavering.with_array(doubt)),
        "cut": measure_case(changed(body(), _1=(slice(0, 10), slice(10, 40), slice(12, 38)))),
        "missing": measure_case(body(left_mm=0)),
        "ratio": measure_case(body(left_mm=60)),
        "empty": measure_case(replace(body(), array=np.zeros_like(body().array))),
    }
    first = rank_cases(cases)
    assert first[:4] == ["empty", "missing", "ratio", "doubt"]
    assert first.index("a usual") < first.index("b usual")
    for seed in range(5):
        shuffled = list(cases.items())
        random.Random(seed).shuffle(shuffled)
        assert rank_cases(dict(shuffled)) == first


def test_the_picture_is_the_coronal_outline_over_the_image_as_a_radiologist_expects():
    image, labels = sample_ct(), sample_lungs()
    picture = np.asarray(Image.open(io.BytesIO(coronal_picture(image, labels)))).astype(int)
    height, width = (size * step for size, step in ((labels.shape[0], labels.spacing[0]), (labels.shape[2], labels.spacing[2])))
    assert picture.shape[0] / picture.shape[1] == pytest.approx(height / width, rel=0.02)
    green, blue = (np.abs(picture - np.array(colour)).sum(axis=-1) == 0 for colour in ((0x3D, 0xDC, 0x97), (0x4A, 0xA8, 0xFF)))
    assert np.argwhere(green)[:, 1].mean() < np.argwhere(blue)[:, 1].mean()  # the right lung on the left
    assert 0 < green.mean() + blue.mean() < 0.1  # a line, no area
    flat = labels.crop((slice(10, 12), slice(None), slice(None))), image.crop((slice(10, 12), slice(None), slice(None)))
    axial = Image.open(io.BytesIO(coronal_picture(flat[1], flat[0])))
    assert axial.height / axial.width == pytest.approx(labels.shape[1] * labels.spacing[1] / width, rel=0.02)


class _Page(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_names_that_are_markup_formulas_or_shell_commands_stay_names(tmp_path):
    name, source = "=1+<img src=\"http://x/y\" onerror='alert(1)'>", "scans/a b; rm 'c'.nii.gz"
    entries = [Entry(name, source, "out/m.nii.gz", measure_case(body()), b"png"), Entry("late", "bad.mha", error="bad.mha is <damaged>.")]
    table, page = write_cases(tmp_path, entries)
    failed, row = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
    assert (failed["rank"], failed["error"], row["case"]) == ("1", "bad.mha is <damaged>.", f"'{name}")
    made = _Page(page.read_text(encoding="utf-8"))
    assert [card["data-name"] for card in made.of("article")] == ["late", name]
    assert len(made.of("img")) == 1
    assert "napari --plugin napari-lungseg 'scans/a b; rm '\"'\"'c'\"'\"'.nii.gz' out/m.nii.gz" in made.text
    assert "not for diagnosis" in made.text
    assert "bad.mha is <damaged>." in made.text


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_model(chest_model(), tmp_path_factory.mktemp("models") / "chest"))


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the program in a folder of its own; gives exit status and lines of stdout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))

    def call(*args) -> tuple[int, list[str]]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(arg) for arg in args])
        return int(ended.value.code), capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A usual chest, one whose left lung is solid, one without lung, a damaged file and a DICOM series of a patient with a name."""
    folder = tmp_path / "scans"
    (folder / "series").mkdir(parents=True)
    volume, _ = chest(slices=40)
    write(volume, folder / "usual.nii.gz")
    one_sided = volume.array.copy()
    one_sided[:, :, 50:][one_sided[:, :, 50:] < -500] = 40
    write(volume.with_array(one_sided, "HU"), folder / "one.nii.gz")
    write(volume.with_array(np.where(volume.array < -500, 40, volume.array), "HU"), folder / "none.nii.gz")
    (folder / "bad.mha").write_text("bad")
    for index in range(3):
        write_ct_slice(
            folder / "series" / f"{index}.dcm",
            np.asarray(volume.array[index]),
            (0, 0, 6.0 * index),
            PixelSpacing=[4.0, 4.0],
            PatientName="Doe^Jane",
        )
    return folder


def test_the_terminal_puts_the_failures_first_in_table_and_page(run, scans, model):
    status, out = run("segment", scans, "-o", "out", "--model", model, "--summary", "--jobs", 2)
    assert status == 1
    assert CASES_HTML in out[-1]
    table = Path("out", CASES_CSV).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["case"] for row in rows[:3]] == ["bad", "none", "one"]
    assert {row["case"] for row in rows[3:]} == {"usual", "series"}
    assert "bad.mha is damaged" in rows[0]["error"]
    assert (rows[1]["oddities"], rows[1]["volume_ml"]) == ("No lung was found; usual are two.", "0.0")
    assert "The left lung is missing" in rows[2]["oddities"]
    usual = next(row for row in rows if row["case"] == "usual")
    assert float(usual["right_ml"]) + float(usual["left_ml"]) == pytest.approx(float(usual["volume_ml"]), abs=0.2)
    assert float(usual["expected_error_ml"]) >= 0
    text = Path("out", CASES_HTML).read_text(encoding="utf-8")
    page = _Page(text)
    assert [card["data-name"] for card in page.of("article")] == [row["case"] for row in rows]
    assert len(page.of("img")) == 4
    pictures = re.compile(r"base64,([^\"]+)")
    for code in pictures.findall(text):
        Image.open(io.BytesIO(base64.b64decode(code))).load()
    # It needs nothing else, and may fetch nothing; whose series it is, is not told.
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "default-src 'none'" in text
    assert "Doe" not in pictures.sub("", text) + table
    known = read_cases(Path("out"))
    assert [path.name.partition(".")[0] for path, _ in known] == [row["case"] for row in rows]
    assert all(path.is_absolute() and path.exists() for path, _ in known)
    assert known[1][1] == "No lung was found; usual are two."
    assert "bad.mha is damaged" in known[0][1]


def test_other_commands_take_no_notice_of_table_and_page(run, model, tmp_path):
    volume, _ = chest(slices=3)
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a.nii.gz", "b.nii.gz"):
        write(volume, scans / name)
    for _ in range(2):
        status, out = run("segment", scans, "-o", scans, "--model", model, "--summary")
        assert (status, len(out)) == (0, 3)
    assert run("segment", scans / "a.nii.gz", scans / "b.nii.gz", "-o", "masks", "--model", model, "--summary")[0] == 0
    assert [path.name for path in scans_in("masks")] == ["a_lungs.nii.gz", "b_lungs.nii.gz"]
    assert {path.name for path in Path("masks").iterdir()} == {"a_lungs.nii.gz", "b_lungs.nii.gz", CASES_CSV, CASES_HTML, RECORDS}
    matched, failures = pairs(Path("masks"), Path("masks"))
    assert (set(matched), failures) == ({"a", "b"}, [])


def test_a_table_of_cases_that_cannot_be_used_is_refused(tmp_path):
    assert read_cases(tmp_path) == []
    (tmp_path / CASES_CSV).write_text("case,volume\na,1\n")
    with pytest.raises(InputError, match="is no table of cases"):
        read_cases(tmp_path)
    write_cases(tmp_path, [Entry("gone", str(tmp_path / "gone.nii.gz"), error="It was damaged.")])
    with pytest.raises(InputError, match="None of the scans"):
        read_cases(tmp_path)


def test_the_table_is_written_as_parquet_too_with_the_same_types_whatever_is_empty(run, model, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "bad.mha").write_text("bad")
    write(chest(slices=40)[0], tmp_path / "scans" / "=usual.nii.gz")
    status, out = run("segment", "scans", "-o", "out", "--model", model, "--parquet")
    assert status == 1
    assert CASES_HTML in out[-1]
    table = parquet.read_table(Path("out", CASES_PARQUET))
    kinds = {field.name: str(field.type) for field in table.schema}
    assert {name: kind for name, kind in kinds.items() if kind != "double"} == dict.fromkeys(("rank", "parts"), "int64") | dict.fromkeys(
        ("case", "input", "output", "oddities", "error"), "string"
    )
    bad, usual = table.to_pylist()
    assert (bad["rank"], bad["case"], bad["parts"], bad["volume_ml"]) == (1, "bad", None, None)
    # What only a spreadsheet would misunderstand is as it is.
    assert (usual["case"], usual["parts"]) == ("=usual", 2)
    rows = list(csv.DictReader(io.StringIO(Path("out", CASES_CSV).read_text(encoding="utf-8"))))
    assert list(rows[0]) == table.column_names
    assert [row["volume_ml"] for row in rows] == ["", str(usual["volume_ml"])]
    write_cases(tmp_path, [Entry("gone", os.fsdecode(b"g\xfcn.nii.gz"), error="It was damaged.")], parquet=True)
    alone = parquet.read_table(tmp_path / CASES_PARQUET)
    assert alone.schema.equals(table.schema)
    assert alone["input"].to_pylist() == ["g\\udcfcn.nii.gz"]
    monkeypatch.setattr("napari_lungseg.tables.find_spec", lambda name: None)
    assert run("segment", "scans", "-o", "other", "--model", model, "--parquet")[0] == 2
    assert not Path("other").exists()


def test_one_scan_to_one_file_has_its_table_and_page_beside_it(run, model, tmp_path):
    write(chest(slices=3)[0], tmp_path / "ct.nii.gz")
    assert run("segment", "ct.nii.gz", "-o", "lungs.nii.gz", "--model", model, "--summary")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"ct.nii.gz", "lungs.nii.gz", CASES_CSV, CASES_HTML}
