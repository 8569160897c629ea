from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_lungseg.errors import InputError
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.augmentation import AugmentSettings, IntensitySettings, SpatialSettings
from napari_lungseg.training.augmentation.augment import augment, preview
from napari_lungseg.training.augmentation.disease import DISEASES, effusion, pneumothorax, removed
from napari_lungseg.training.augmentation.distractors import arms, dissecting_air, field_of_view, gas, table
from napari_lungseg.training.augmentation.intensity import degrade, express
from napari_lungseg.training.augmentation.spatial import view
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.training.samples import IGNORE, LabelledSlice, slices_of

STILL = SpatialSettings(any_rotation=0, rotation_deg=0, translation_mm=0, log_scale=0, log_aspect=0, flip=0, elastic=0)
#: Intensities as they are.
PLAIN = IntensitySettings(kernel=0, noise=0, low_resolution=0, brightness=0, contrast=0, gamma=0, eight_bit=0, recolour=0)


@pytest.fixture
def item(chests: Path) -> LabelledSlice:
    data = open_dataset(chests)
    return next(slices_of("b", *data.load("b"), Preprocessing()))


@pytest.fixture
def seen(item: LabelledSlice) -> tuple[torch.Tensor, torch.Tensor]:
    image, label, _ = view(item, 96, 1.1, STILL, 1.0, np.random.default_rng(0))
    return image, label.float()


def test_same_seed_gives_the_same_view_and_another_seed_another(item: LabelledSlice) -> None:
    first, again, other = (augment(item, 64, 1.5, AugmentSettings(), 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_views_are_what_a_network_reads(item: LabelledSlice) -> None:
    for seed in range(40):
        image, label = augment(item, 48, 2.2, AugmentSettings(disease=1.0), 1.0, np.random.default_rng(seed))
        assert image.shape == (1, 48, 48)
        assert label.shape == (48, 48)
        assert torch.isfinite(image).all()
        assert image.min() >= -1
        assert image.max() <= 1
        assert set(label.unique().tolist()) <= {0, 1}


def test_mask_moves_with_the_image_through_every_geometric_change(item: LabelledSlice) -> None:
    for seed in range(20):
        image, label, _ = view(item, 96, 1.1, SpatialSettings(elastic=1.0), 1.0, np.random.default_rng(seed))
        lung, body = image[label > 0], image[(label == 0) & (image > -200)]
        # Pixels of the border are mixtures; the rest must be lung.
        assert (lung < -500).float().mean() > 0.97
        assert len(body) > 0


def test_down_points_to_the_back_of_the_patient(item: LabelledSlice) -> None:
    rows = np.arange(item.image.shape[0], dtype=np.float32)[:, None] + np.zeros(item.image.shape[1], dtype=np.float32)
    middle = np.zeros_like(item.label)
    middle[middle.shape[0] // 2, middle.shape[1] // 2] = 1
    ramp = LabelledSlice("r", 0, rows, middle, item.spacing_mm, (0.0, 1.0), False)
    for seed in range(10):
        settings = SpatialSettings(any_rotation=1.0, elastic=0, translation_mm=0, log_aspect=0, flip=seed % 2)
        image, _, down = view(ramp, 32, 0.8, settings, 1.0, np.random.default_rng(seed), 1.0)
        slope_x, slope_y = float(image[:, 20:].mean() - image[:, :12].mean()), float(image[20:].mean() - image[:12].mean())
        assert np.arctan2(slope_y, slope_x) == pytest.approx(down, abs=0.05)


@pytest.mark.parametrize("disease", [f for f, _ in DISEASES], ids=lambda f: f.__name__)
def test_disease_changes_the_lung_and_nothing_else(disease, seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lung = seen
    changed = 0
    for seed in range(10):
        drawn, label = disease(image.clone(), lung.clone(), np.pi / 2, 1.1, np.random.default_rng(seed))
        assert torch.isfinite(drawn).all()
        assert not (label > lung).any()
        near = torch.nn.functional.max_pool2d(lung[None, None], 5, 1, 2)[0, 0] > 0
        assert torch.equal(drawn[~near], image[~near])
        changed += int((drawn - image).abs().max() > 30)
        if disease not in (effusion, pneumothorax, removed):
            assert torch.equal(label, lung), "diseased lung stays lung"
    assert changed >= 8


def test_fluid_and_free_air_are_not_lung(seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lung = seen
    fluid, kept = effusion(image.clone(), lung, np.pi / 2, 1.1, np.random.default_rng(1))
    assert 0 < kept.sum() < lung.sum()
    assert fluid[(lung > 0) & (kept == 0)].mean() > -60
    air, kept = pneumothorax(image.clone(), lung, np.pi / 2, 1.1, np.random.default_rng(1))
    assert 0 < kept.sum() < lung.sum()
    assert air[(lung > 0) & (kept == 0)].max() < -950


def test_a_lung_that_was_taken_out_leaves_fluid_or_air_and_the_other_lung(seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lung = seen
    levels = 0
    for seed in range(10):
        drawn, kept = removed(image.clone(), lung, np.pi / 2, 1.1, np.random.default_rng(seed))
        assert 0 < kept.sum() < lung.sum()
        assert torch.equal(drawn[kept > 0], image[kept > 0])
        filling = drawn[(lung > 0) & (kept == 0)]
        is_air = filling < -900
        assert filling[~is_air].min() > -60
        levels += int(is_air.any())
    assert 0 < levels < 10


def test_air_in_soft_tissue_is_dark_and_leaves_the_lung_alone(seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lung = seen
    changed = 0
    for seed in range(10):
        drawn = dissecting_air(image, lung, 1.1, np.random.default_rng(seed))
        assert torch.equal(drawn[lung > 0], image[lung > 0])
        assert (drawn <= image).all()
        changed += int((image - drawn).max() > 500)
    assert changed >= 8


def test_surroundings_leave_the_lung_alone(seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lung = seen
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for drawn in (gas(image, lung, 1.1, rng), arms(image, lung, 1.1, rng), table(image, lung, 1.1, rng)):
            assert torch.equal(drawn[lung > 0], image[lung > 0])
        cut, label = field_of_view(image, lung, rng)
        assert torch.equal(label > 0, (lung > 0) & (cut == image))


def test_eight_bit_view_has_at_most_256_greys(seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    settings = IntensitySettings(eight_bit=1.0)
    greys = express(seen[0], -1024, 600, True, settings, 1.0, np.random.default_rng(0))
    steps = (greys + 1) * 127.5
    assert torch.allclose(steps, steps.round(), atol=1e-3)


def test_switched_off_augmentation_is_plain_normalisation(item: LabelledSlice) -> None:
    image, label = augment(item, 64, 1.5, AugmentSettings.off(), 1.0, np.random.default_rng(0))
    raw, mask, _ = view(item, 64, 1.5, STILL, 1.0, np.random.default_rng(0))
    assert torch.allclose(image[0], ((raw + 1024) / 812 - 1).clamp(-1, 1), atol=1e-5)
    assert torch.equal(label, mask)


def three_labels(item: LabelledSlice) -> LabelledSlice:
    """The right half of the lung as a class of its own, and a corner that nobody has judged."""
    label = item.label.copy()
    label[:, label.shape[1] // 2 :][label[:, label.shape[1] // 2 :] == 1] = 3
    label[:8, :8] = IGNORE
    return LabelledSlice("t", 0, item.image, label, item.spacing_mm, item.intensity_range, item.is_hu)


def test_labels_of_several_classes_stay_whole_numbers_and_keep_their_areas(item: LabelledSlice) -> None:
    several = three_labels(item)
    assert several.values == {0, 1, 3, IGNORE}
    _, label, _ = view(several, 128, 0.9, STILL, 1.0, np.random.default_rng(0))
    for value in (1, 3):
        area = float((label == value).sum()) * 0.9**2
        assert area == pytest.approx(float((several.label == value).sum()) * several.pixel_mm2, rel=0.05)
    _, turned, _ = view(several, 96, 1.1, SpatialSettings(elastic=1.0), 1.0, np.random.default_rng(4))
    assert set(turned.unique().tolist()) <= {0, 1, 3, IGNORE}


def test_nothing_is_drawn_where_some_pixels_are_not_judged(item: LabelledSlice) -> None:
    settings = AugmentSettings(spatial=STILL, intensity=PLAIN, disease=1.0, gas=1.0)
    plain = AugmentSettings.off()
    sparse = three_labels(item)
    for seed in range(5):
        drawn, _ = augment(sparse, 64, 1.5, settings, 1.0, np.random.default_rng(seed))
        assert torch.equal(drawn, augment(sparse, 64, 1.5, plain, 1.0, np.random.default_rng(seed))[0])
    changed, _ = augment(item, 64, 1.5, settings, 1.0, np.random.default_rng(0))
    assert not torch.equal(changed, augment(item, 64, 1.5, plain, 1.0, np.random.default_rng(0))[0])


def test_small_views_are_centred_on_what_is_labelled_as_often_as_asked(item: LabelledSlice) -> None:
    label = np.zeros_like(item.label)
    label[30:34, 60:64] = 1
    spot = LabelledSlice("s", 0, item.image, label, item.spacing_mm, item.intensity_range, True)

    def share(wanted: float) -> float:
        views = (view(spot, 16, 1.05, STILL, 1.0, np.random.default_rng(seed), wanted)[1] for seed in range(200))
        return float(np.mean([bool((one == 1).any()) for one in views]))

    assert share(1.0) == 1.0
    assert share(0.0) < 0.3
    assert 0.35 < share(0.5) < 0.75


def test_preview_shows_a_view_in_greys_with_its_label(item: LabelledSlice) -> None:
    image, label = preview(item, AugmentSettings(), 1.5, 3, size=64)
    assert image.dtype == label.dtype == np.uint8
    assert image.shape == label.shape == (64, 64)
    assert image.std() > 10
    assert not np.array_equal(image, preview(item, AugmentSettings(), 1.5, 4, size=64)[0])


def test_augmentation_that_makes_no_sense_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="flip"):
        AugmentSettings(spatial=SpatialSettings(flip=1.5))
    with pytest.raises(InputError, match="noise hu"):
        AugmentSettings(intensity=IntensitySettings(noise_hu=-1))


def test_sides_stay_what_they_are_where_classes_are_called_by_them() -> None:
    """A lung that was mirrored would be learnt under the name of the other."""
    settings = AugmentSettings()
    for names in (("right", "left"), ("tumour", "left_upper-lobe"), ("Right lung",)):
        spatial = settings.for_classes(names).spatial
        assert (spatial.flip, spatial.any_rotation) == (0.0, 0.0)
        assert spatial.rotation_deg == settings.spatial.rotation_deg
    assert settings.for_classes(("lung", "bright spot")) == settings


@pytest.mark.parametrize(
    ("chance", "reach"),
    [
        ("kernel", {"kernel_px": 3.0}),
        ("noise", {"noise_hu": 300.0}),
        ("low_resolution", {"low_resolution_times": 8.0}),
        ("brightness", {"brightness_hu": 200.0}),
        ("contrast", {"log_contrast": 0.5}),
    ],
)
def test_a_wider_range_changes_the_image_more_and_a_range_of_next_to_nothing_hardly(seen, chance: str, reach: dict[str, float]) -> None:
    image, _ = seen
    (name,) = reach

    def change(value: float) -> float:
        settings = replace(PLAIN, **{chance: 1.0, name: value})
        views = [degrade(image.clone(), -1024, 600, settings, 1.0, np.random.default_rng(seed)) for seed in range(8)]
        return float(np.mean([(view - image).abs().mean() for view in views]))

    usual = getattr(IntensitySettings(), name)
    assert change(0.01) < 0.2 * change(usual) < 0.2 * change(reach[name])
