from itertools import permutations, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from napari_lungseg.classes import ClassLabels
from napari_lungseg.errors import InputError
from napari_lungseg.mask import UNKNOWN_SIDE, MaskSettings, apply_threshold, make_mask
from napari_lungseg.volume import Volume, axis_order, scaling

SPACING = (5.0, 3.0, 3.0)
SHAPE = (40, 80, 120)


def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    """An ellipsoid; centre and radii in mm from the first voxel."""
    z, y, x = (np.arange(size) * step for size, step in zip(SHAPE, SPACING))
    return (
        ((z[:, None, None] - centre[0]) / radii[0]) ** 2 + ((y[:, None] - centre[1]) / radii[1]) ** 2 + ((x - centre[2]) / radii[2]) ** 2
    ) < 1


RIGHT = ball((100, 120, 100), (85, 80, 65))
LEFT = ball((95, 120, 250), (75, 65, 60))
#: A sheet in front where the lungs touch, as at the anterior junction.
JUNCTION = np.zeros(SHAPE, bool)
JUNCTION[12:30, 30:34, 40:80] = True
JUNCTION &= ~(RIGHT | LEFT)


def volume(lung: npt.NDArray[np.bool_], spacing: tuple[float, ...] = SPACING) -> Volume:
    """A probability of 100 % where ``lung`` is, on an upright grid centred on the scanner."""
    step = (*spacing[-1:], *spacing[-2:-1])
    origin = (-lung.shape[-1] / 2 * step[0], -lung.shape[-2] / 2 * step[1], 0.0)
    return Volume(lung.astype(np.uint8) * 100, scaling(spacing, origin))


def labels(lung: npt.NDArray[np.bool_], settings: MaskSettings | None = None) -> npt.NDArray[np.uint8]:
    return make_mask(volume(lung), settings).array


def restored(original: Volume, order: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The same image stored with its axes in another order and direction."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for new, old in enumerate(order):
        turn[old, new] = -1 if new in flips else 1
        turn[old, 3] = original.shape[old] - 1 if new in flips else 0
    return Volume(np.flip(original.array.transpose(order), flips), original.affine @ turn)


def test_a_voxel_is_lung_from_the_threshold_on_and_zero_percent_never_is() -> None:
    percent = np.arange(101, dtype=np.uint8)
    for threshold in np.linspace(0.01, 1, 100).round(2):
        assert np.flatnonzero(apply_threshold(percent, threshold))[0] == round(threshold * 100)
    assert not apply_threshold(percent, 0.0)[0]
    assert apply_threshold(percent, 0.501).sum() == 50


def test_without_post_processing_only_the_threshold_counts() -> None:
    rng = np.random.default_rng(0)
    percent = rng.integers(0, 101, (5, 20, 30), np.uint8)
    for array in (percent, percent[0]):
        mask = make_mask(Volume(array, scaling((2.0, 1.0, 1.0))), MaskSettings.without_postprocessing(0.7)).array
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, (array >= 70).astype(np.uint8))


def test_the_right_lung_is_1_and_the_left_lung_2() -> None:
    mask = labels(RIGHT | LEFT)
    assert np.array_equal(mask, np.where(RIGHT, 1, np.where(LEFT, 2, 0)))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_sides_follow_the_patient_however_the_array_is_stored(order: tuple[int, ...]) -> None:
    expected = np.where(RIGHT, 1, np.where(LEFT, 2, 0))
    for flags in product((False, True), repeat=3):
        flips = tuple(axis for axis, flag in enumerate(flags) if flag)
        mask = make_mask(restored(volume(RIGHT | LEFT), order, flips)).array
        assert np.array_equal(np.flip(mask, flips).transpose(np.argsort(order)), expected)


def test_touching_lungs_are_parted_the_same_however_the_array_is_stored() -> None:
    upright = volume(RIGHT | LEFT | JUNCTION)
    mask = make_mask(restored(upright, (2, 0, 1), (0, 1))).array
    assert np.array_equal(np.flip(mask, (0, 1)).transpose(1, 2, 0), make_mask(upright).array)


def test_sides_follow_the_patient_in_an_oblique_volume() -> None:
    angle = np.radians(20)
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    upright = volume(RIGHT | LEFT)
    mirrored = restored(upright, (0, 1, 2), (1, 2))
    mask = make_mask(Volume(mirrored.array, tilt @ mirrored.affine)).array
    assert np.array_equal(np.flip(mask, (1, 2)), np.where(RIGHT, 1, np.where(LEFT, 2, 0)))


def test_touching_lungs_are_parted_at_the_junction() -> None:
    mask = labels(RIGHT | LEFT | JUNCTION)
    assert np.array_equal(mask > 0, RIGHT | LEFT | JUNCTION)
    assert (mask[RIGHT] == 1).mean() > 0.999
    assert (mask[LEFT] == 2).mean() > 0.999
    assert set(np.unique(mask[JUNCTION])) == {1, 2}


def test_touching_lungs_are_parted_in_a_single_slice() -> None:
    for z in (16, 20, 28):
        lung = (RIGHT | LEFT | JUNCTION)[z]
        mask = labels(lung)
        assert np.array_equal(mask > 0, lung)
        assert (mask[RIGHT[z]] == 1).all()
        assert (mask[LEFT[z]] == 2).all()


def test_another_class_keeps_its_voxels_while_lung_is_post_processed() -> None:
    tumour = np.zeros(SHAPE, bool)
    tumour[18:22, 38:42, 30:36] = True  # inside the right lung
    tumour[2, 2, 2] = True  # far from it, and smaller than any lung
    speck = np.zeros(SHAPE, bool)
    speck[37, 77, 117] = True
    lung = (RIGHT | LEFT) & ~tumour
    likeliest = np.where(tumour, 3, 1).astype(np.uint8)
    mask = make_mask(volume(lung | speck | tumour), None, ClassLabels(("lung", "tumour"), (1, 3)), likeliest).array
    assert np.array_equal(mask, np.where(tumour, 3, np.where(RIGHT, 1, np.where(LEFT, 2, 0))))
    # It is all classes together that must reach the threshold.
    percent = volume(lung).with_array(np.where(lung | tumour, np.uint8(50), np.uint8(0)))
    same = make_mask(percent, None, ClassLabels(("lung", "tumour"), (1, 3)), likeliest).array
    assert np.array_equal(same, np.where(tumour, 3, np.where(RIGHT, 1, np.where(LEFT, 2, 0))))


def test_without_lung_the_classes_are_as_likely_as_they_are() -> None:
    rng = np.random.default_rng(0)
    percent, likeliest = rng.integers(0, 101, (5, 20, 30), np.uint8), rng.choice(np.array([4, 2], np.uint8), (5, 20, 30))
    probability = Volume(percent, scaling((2.0, 1.0, 1.0)))
    mask = make_mask(probability, MaskSettings(threshold=0.7), ClassLabels(("liver", "spleen"), (4, 2), sides=False), likeliest).array
    assert np.array_equal(mask, np.where(percent >= 70, likeliest, 0))
    one = make_mask(probability, MaskSettings(threshold=0.7), ClassLabels(("liver",), (4,), sides=False)).array
    assert np.array_equal(one, np.where(percent >= 70, 4, 0))


def test_lung_without_sides_is_one_label() -> None:
    mask = make_mask(volume(RIGHT | LEFT), None, ClassLabels(("lung",), (7,), sides=False)).array
    assert np.array_equal(mask, np.where(RIGHT | LEFT, 7, 0))


def test_of_several_classes_the_most_likely_one_must_be_given() -> None:
    for likeliest in (None, np.ones((3, 3), np.uint8)):
        with pytest.raises(InputError, match="most likely class"):
            make_mask(volume(RIGHT), None, ClassLabels(("lung", "tumour"), (1, 3)), likeliest)


def test_lungs_that_no_erosion_parts_are_cut_by_a_plane() -> None:
    bar = np.zeros(SHAPE, bool)
    bar[5:35, 20:60, 10:110] = True
    mask = labels(bar)
    assert np.array_equal(mask > 0, bar)
    assert (mask[:, :, :43][bar[:, :, :43]] == 1).all()
    assert (mask[:, :, 77:][bar[:, :, 77:]] == 2).all()


def test_a_cut_on_a_fine_grid_follows_the_narrowest_place() -> None:
    y, x = np.mgrid[:300, :400]
    right = (x - 110) ** 2 + (y - 150) ** 2 < 85**2
    left = (x - 290) ** 2 + (y - 150) ** 2 < 80**2
    neck = (abs(y - 150) < 4 + abs(x - 203) / 2) & (x > 110) & (x < 290)
    stack = np.repeat((right | left | neck)[None], 30, axis=0)
    mask = make_mask(volume(stack, (2.0, 0.9, 0.9))).array
    for row in mask[:, 150]:
        first_left = np.flatnonzero(row == 2)[0]
        assert np.flatnonzero(row == 1)[-1] == first_left - 1
        assert abs(first_left - 203) <= 2


def test_lungs_that_touch_in_one_place_stay_apart_along_a_thin_gap() -> None:
    y, x = np.mgrid[:240, :400]
    chest = ((x - 200) / 170) ** 2 + ((y - 120) / 100) ** 2 < 1
    beyond = x - 200 - 0.4 * (y - 120)
    bridge = abs(y - 120) < 4
    stack = np.repeat((chest & ((abs(beyond) > 1.5) | bridge))[None], 30, axis=0)
    mask = make_mask(volume(stack, (2.0, 0.9, 0.9))).array
    expected = np.where(beyond < 0, 1, 2)
    away = stack & (abs(y - 120) > 6)
    assert np.array_equal(mask[away], np.broadcast_to(expected, mask.shape)[away])


def test_a_piece_behind_the_heart_goes_to_its_own_side() -> None:
    right, left = RIGHT[20], LEFT[20] & (np.arange(80)[:, None] < 30)
    piece = np.zeros_like(right)
    piece[56:66, 64:67] = True
    assert not (piece & (right | left)).any()
    to_right = np.hypot(*(np.argwhere(right)[:, None] - np.argwhere(piece)).transpose(2, 0, 1)).min()
    to_left = np.hypot(*(np.argwhere(left)[:, None] - np.argwhere(piece)).transpose(2, 0, 1)).min()
    assert to_right < to_left
    mask = labels(right | left | piece)
    assert np.array_equal(mask, np.where(right, 1, np.where(left | piece, 2, 0)))


def disc(row: float, column: float, radius: float, shape: tuple[int, int] = (300, 360)) -> npt.NDArray[np.bool_]:
    """A disc on a slice of 1 mm pixels."""
    y, x = np.indices(shape)
    return np.hypot(y - row, x - column) < radius


def test_a_crumb_beside_a_lung_goes_to_that_lung() -> None:
    right, left = disc(150, 120, 60), disc(150, 230, 35)
    crumb = np.zeros_like(right)
    crumb[145:155, 183:187] = True
    mask = make_mask(volume(right | left | crumb, (1.0, 1.0))).array
    assert np.array_equal(mask, np.where(right | crumb, 1, np.where(left, 2, 0)))


def test_a_single_lung_belongs_to_its_half_of_the_image() -> None:
    assert set(np.unique(labels(RIGHT))) == {0, 1}
    assert set(np.unique(labels(LEFT))) == {0, 2}
    assert set(np.unique(labels(RIGHT[20]))) == {0, 1}
    assert set(np.unique(labels(LEFT[20]))) == {0, 2}


@pytest.mark.parametrize(("left_edge_mm", "centre_mm", "side"), [(-165.0, -55.0, 1), (-15.0, 55.0, 2), (-190.0, -80.0, 1), (20.0, 90.0, 2)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_lung_alone_in_a_narrow_field_has_the_side_of_the_scanner(left_edge_mm: float, centre_mm: float, side: int, flip: bool) -> None:
    z, y, x = np.mgrid[:40, :90, :90]
    lung = ((z - 20) / 18) ** 2 + ((2 * y - 90) / 70) ** 2 + ((2 * x + left_edge_mm - centre_mm) / 45) ** 2 < 1
    affine = scaling((5.0, 2.0, 2.0), (left_edge_mm, -90.0, -100.0))
    if flip:
        # Stored from the patient's left to right.
        lung, affine = lung[:, :, ::-1], affine.copy()
        affine[0, 2], affine[0, 3] = -2.0, left_edge_mm + 2.0 * 89
    assert np.array_equal(make_mask(Volume(lung.astype(np.uint8) * 100, affine)).array, lung * side)


@pytest.mark.parametrize(
    "lost", [{"origin": (0.0, -90.0, -100.0)}, {"oriented": False}], ids=["no place in the scanner", "no orientation in the file"]
)
def test_a_lone_lung_of_which_nobody_knows_the_side_is_1_and_told(lost: dict) -> None:
    z, y, x = np.mgrid[:40, :90, :90]
    lung = ((z - 20) / 18) ** 2 + ((2 * y - 90) / 70) ** 2 + ((2 * x - 130) / 45) ** 2 < 1
    affine = scaling((5.0, 2.0, 2.0), lost.get("origin", (-15.0, -90.0, -100.0)))
    mask = make_mask(Volume(lung.astype(np.uint8) * 100, affine, oriented=lost.get("oriented", True)))
    assert np.array_equal(mask.array, lung)
    waist = lung & ~((np.abs(z - 20) < 12) & (np.abs(y - 45) > 2) & (np.abs(2 * x - 90) < 12))
    assert set(np.unique(make_mask(Volume(waist.astype(np.uint8) * 100, affine, oriented=lost.get("oriented", True))).array)) == {0, 1}
    assert mask.notes == (UNKNOWN_SIDE,)
    assert mask.names == {1: "lungs"}


def test_two_lungs_in_a_narrow_field_have_their_sides_without_a_place_in_the_scanner() -> None:
    right, left = disc(60, 60, 30), disc(60, 160, 30)
    mask = make_mask(volume(right | left, (1.0, 1.0)))
    narrow = make_mask(Volume(np.asarray(right | left)[:, :220].astype(np.uint8) * 100, scaling((1.0, 1.0))))
    assert set(np.unique(mask.array)) == set(np.unique(narrow.array)) == {0, 1, 2}
    assert not narrow.notes


def test_one_lung_that_reaches_over_the_midline_stays_one() -> None:
    right, left = disc(150, 100, 70) | disc(70, 200, 32) | disc(97, 161, 18), disc(190, 290, 50)
    mask = make_mask(volume(right | left, (1.0, 1.0))).array
    assert np.array_equal(mask, np.where(right, 1, np.where(left, 2, 0)))


def test_a_single_slice_follows_its_own_geometry() -> None:
    lung = (RIGHT | LEFT)[20]
    expected = np.where(RIGHT[20], 1, np.where(LEFT[20], 2, 0))
    affine = volume(lung).affine
    mirror, transpose = np.eye(4), np.eye(4)[[0, 2, 1, 3]]
    mirror[2, 2], mirror[2, 3] = -1, lung.shape[1] - 1
    mirrored = Volume(lung[:, ::-1].astype(np.uint8) * 100, affine @ mirror)
    assert np.array_equal(make_mask(mirrored).array, expected[:, ::-1])
    transposed = Volume(lung.T.astype(np.uint8) * 100, affine @ transpose)
    assert np.array_equal(make_mask(transposed).array, expected.T)


def test_a_coronal_slice_has_sides_and_filled_vessels() -> None:
    plane = (RIGHT | LEFT)[:, 40].copy()
    plane[20, 33] = False
    affine = np.array([[0, 0, 3.0, -180], [-3.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 0, 1]])
    assert axis_order(affine) == (1, 0, 2)
    mask = make_mask(Volume(plane.astype(np.uint8) * 100, affine)).array
    assert np.array_equal(mask, np.where(RIGHT[:, 40], 1, np.where(LEFT[:, 40], 2, 0)))


@pytest.mark.parametrize(("x", "side"), [(-70.0, 1), (80.0, 2)])
def test_a_sagittal_slice_is_on_the_side_where_it_lies(x: float, side: int) -> None:
    affine = np.array([[-1.0, 0, 0, x], [0, 0, 3.0, 0], [0, 5.0, 0, 0], [0, 0, 0, 1]])
    plane = RIGHT[:, :, 33]
    assert np.array_equal(make_mask(Volume(plane.astype(np.uint8) * 100, affine)).array, plane * side)


def test_specks_go_and_pieces_of_lung_stay() -> None:
    lung = ball((110, 120, 100), (75, 80, 65)) | LEFT
    speck, piece = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    speck[0:2, 40:43, 60:63] = True  # 0.8 mL
    piece[1:5, 60:70, 12:20] = True  # 14 mL, a part of the base that is cut off
    assert not (lung & (speck | piece)).any()
    mask = labels(lung | speck | piece)
    assert not mask[speck].any()
    assert (mask[piece] == 1).all()
    kept = labels(lung | speck | piece, MaskSettings(keep_lungs=False))
    assert kept[speck].all()
    assert not labels(lung | speck | piece, MaskSettings(smallest_ml=30.0))[piece].any()


def test_a_single_slice_keeps_thin_recesses_and_drops_specks() -> None:
    y, x = np.mgrid[:256, :256] * 1.4
    right = (np.hypot(x - 110, y - 190) < 80) & (np.hypot(x - 115, y - 170) > 85)
    recess, speck = np.zeros_like(right), np.zeros_like(right)
    recess[100:112, 190:194] = True  # 94 mm²
    speck[60:63, 120:123] = True  # 18 mm²
    mask = make_mask(volume(right | recess | speck, (1.4, 1.4))).array
    assert (mask[right] == 1).all()
    assert (mask[recess] == 2).all()
    assert not mask[speck].any()
    one_slice = volume((right | recess | speck)[None], (8.0, 1.4, 1.4))
    assert np.array_equal(make_mask(one_slice).array[0], mask)


def test_a_mouse_is_not_emptied() -> None:
    upright = volume(RIGHT | LEFT)
    mouse = Volume(upright.array, np.diag([0.05, 0.05, 0.05, 1]) @ upright.affine)
    assert np.array_equal(make_mask(mouse).array, make_mask(upright).array)


def test_an_image_without_a_physical_size_is_taken_for_a_chest() -> None:
    lung = (RIGHT | LEFT)[20]
    lung = lung.repeat(20, 0).repeat(20, 1)
    lung[5:25, 5:25] = True  # would be 400 mm² if a pixel were a millimetre
    photograph = Volume(lung.astype(np.uint8) * 100, scaling((1.0, 1.0)), spacing_known=False)
    mask = make_mask(photograph).array
    assert not mask[5:25, 5:25].any()
    assert set(np.unique(mask)) == {0, 1, 2}


def test_slabs_in_which_pieces_are_looked_for_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    noise = rng.random(SHAPE) < 0.05  # also more pieces in a slab than a byte can number
    for lung in (RIGHT | LEFT, RIGHT | LEFT | JUNCTION, RIGHT | LEFT | noise, noise):
        for settings in (MaskSettings(), MaskSettings(smallest_ml=0), MaskSettings(fill_holes=False, split_sides=False)):
            whole = labels(lung, settings)
            for voxels in (1, 30_000):
                with monkeypatch.context() as patch:
                    patch.setattr("napari_lungseg.pieces.SLAB_VOXELS", voxels)
                    assert np.array_equal(labels(lung, settings), whole)


def test_vessels_and_nodules_are_filled() -> None:
    vessel, nodule = np.zeros(SHAPE, bool), ball((100, 165, 90), (20, 20, 20))
    vessel[:, 40:43, 30:34] = True  # runs through the whole lung: a hole only slice by slice
    vessel &= RIGHT
    lung = (RIGHT | LEFT) & ~vessel & ~nodule
    inside = RIGHT & ball((100, 120, 100), (70, 70, 55))
    mask = labels(lung)
    assert (mask[(vessel | nodule) & inside] == 1).all()
    unfilled = labels(lung, MaskSettings(fill_holes=False))
    assert not unfilled[vessel | nodule].any()


def test_what_only_both_lungs_together_enclose_stays_out() -> None:
    lung = RIGHT | LEFT
    gap = np.zeros(SHAPE, bool)
    gap[12:28, 39:42, 54:64] = True
    gap &= ~lung
    lung[12:28, 35:39, 40:80] = True  # in front and behind, the lungs meet around the trachea
    lung[12:28, 42:46, 40:80] = True
    trachea = gap & ~lung
    assert trachea[20].any()
    assert trachea[20].sum() * 9 < 300
    assert not labels(lung)[trachea].any()
    assert not labels(lung, MaskSettings(split_sides=False))[trachea].any()
    assert not labels(lung[20])[trachea[20]].any()


def test_a_large_hole_such_as_the_liver_dome_stays_open() -> None:
    dome = ball((0, 120, 100), (100, 40, 40))
    mask = labels((RIGHT & ~dome) | LEFT)
    assert not mask[8, 40, 33]
    assert dome[8, 40, 33]


def test_a_notch_that_is_open_to_the_outside_is_no_hole() -> None:
    lung = np.array([[[1, 0, 1], [0, 1, 1]], [[0, 1, 0], [1, 1, 0]]], bool)
    assert np.array_equal(labels(np.pad(lung, 2), MaskSettings(keep_lungs=False)) > 0, np.pad(lung, 2))


def test_all_lung_is_1_when_the_sides_are_not_split() -> None:
    mask = labels(RIGHT | LEFT, MaskSettings(split_sides=False))
    assert np.array_equal(mask, (RIGHT | LEFT).astype(np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (7, 5), (1, 33, 21), (3, 1, 5), (2, 64, 1)])
@pytest.mark.parametrize("value", [0, 100])
def test_tiny_empty_and_constant_images_work(shape: tuple[int, ...], value: int) -> None:
    for spacing_known in (True, False):
        image = Volume(np.full(shape, value, np.uint8), scaling((2.0, 1.0, 1.0)), spacing_known=spacing_known)
        mask = make_mask(image)
        assert mask.array.shape == shape
        assert mask.array.dtype == np.uint8
        assert (mask.array > 0).all() == (value > 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_specks_in_a_single_row_work(axis: int) -> None:
    row = np.zeros((9, 9, 9), bool)
    np.moveaxis(row, axis, 0)[::2, 4, 4] = True
    assert np.array_equal(labels(row, MaskSettings(keep_lungs=False)) > 0, row)


def test_a_volume_of_specks_becomes_empty() -> None:
    noise = np.random.default_rng(0).random(SHAPE) < 0.01
    assert not labels(noise).any()


def test_the_probability_is_left_as_it_was() -> None:
    probability = volume(RIGHT | LEFT | JUNCTION)
    before = probability.array.copy()
    probability.array.flags.writeable = False
    make_mask(probability)
    assert np.array_equal(probability.array, before)


@pytest.mark.parametrize("wrong", [np.full((4, 4), 0.5), np.full((4, 4), 200, np.uint8), np.ones((4, 4), bool)])
def test_other_than_whole_percent_is_refused(wrong: npt.NDArray[np.generic]) -> None:
    with pytest.raises(InputError, match="whole percent"):
        make_mask(Volume(wrong, scaling((1.0, 1.0))))


@pytest.mark.parametrize("settings", [{"threshold": 1.5}, {"threshold": float("nan")}, {"smallest_ml": -1.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must"):
        MaskSettings(**settings)


@pytest.mark.parametrize(
    "name", ["lidc_more/LIDC-IDRI-0001_full_256_lungs.nii.gz", "acrin_013/lungs.nii.gz", "tcga_slices/lungs/tcga_089_TCGA-34-5234.nii.gz"]
)
def test_real_lungs_pass_unharmed(shared_data: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(shared_data / name))
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    lung = sitk.GetArrayFromImage(image) > 0
    mask = make_mask(Volume(lung.astype(np.uint8) * 100, affine)).array
    assert 2 * (lung & (mask > 0)).sum() / (lung.sum() + (mask > 0).sum()) > 0.9995
    x = {side: (np.argwhere(mask == side).mean(0) @ affine[0, :3]) for side in (1, 2)}
    assert x[1] + 80 < x[2]
    assert 0.3 < (mask == 1).sum() / lung.sum() < 0.7
