from pathlib import Path

import numpy as np
import pytest
import torch

from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.augment import AugmentSettings, augment
from napari_lungseg.training.dataset import LabelledSlice, open_dataset, slices_of
from napari_lungseg.training.disease import DISEASES, effusion, pneumothorax
from napari_lungseg.training.intensity import IntensitySettings, express
from napari_lungseg.training.spatial import SpatialSettings, view
from napari_lungseg.training.surroundings import arms, field_of_view, gas, table

STILL = SpatialSettings(any_rotation=0, rotation_deg=0, translation_mm=0, log_scale=0, log_aspect=0, flip=0, elastic=0)


@pytest.fixture
def item(chests: Path) -> LabelledSlice:
    data = open_dataset(chests)
    return slices_of("b", *data.load("b"), Preprocessing())[0]


@pytest.fixture
def seen(item: LabelledSlice) -> tuple[torch.Tensor, torch.Tensor]:
    image, label, _ = view(item, 96, 1.1, STILL, 1.0, np.random.default_rng(0))
    return image, label


def test_same_seed_gives_the_same_view_and_another_seed_another(item: LabelledSlice) -> None:
    first, again, other = (augment(item, 64, 1.5, AugmentSettings(), 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_views_are_what_a_network_reads(item: LabelledSlice) -> None:
    for seed in range(40):
        image, label = augment(item, 48, 2.2, AugmentSettings(disease=1.0), 1.0, np.random.default_rng(seed))
        assert image.shape == label.shape == (1, 48, 48)
        assert torch.isfinite(image).all()
        assert image.min() >= -1
        assert image.max() <= 1
        assert set(label.unique().tolist()) <= {0.0, 1.0}


def test_mask_moves_with_the_image_through_every_geometric_change(item: LabelledSlice) -> None:
    for seed in range(20):
        image, label, _ = view(item, 96, 1.1, SpatialSettings(elastic=1.0), 1.0, np.random.default_rng(seed))
        lung, body = image[label > 0], image[(label == 0) & (image > -200)]
        # Pixels of the border are mixtures; the rest must be lung.
        assert (lung < -500).float().mean() > 0.97
        assert len(body) > 0


def test_down_points_to_the_back_of_the_patient(item: LabelledSlice) -> None:
    rows = np.arange(item.image.shape[0], dtype=np.float32)[:, None] + np.zeros(item.image.shape[1], dtype=np.float32)
    ramp = LabelledSlice("r", 0, rows, item.label, item.spacing_mm, (0.0, 1.0), False)
    for seed in range(10):
        settings = SpatialSettings(any_rotation=1.0, elastic=0, translation_mm=0, log_aspect=0, flip=seed % 2)
        image, _, down = view(ramp, 32, 0.8, settings, 1.0, np.random.default_rng(seed))
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
        if disease not in (effusion, pneumothorax):
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
    off = IntensitySettings(kernel=0, noise=0, low_resolution=0, calibration=0, eight_bit=0, recolour=0, gamma=0)
    settings = AugmentSettings(STILL, off, disease=0, gas=0, arms=0, table=0, cut_off=0)
    image, label = augment(item, 64, 1.5, settings, 1.0, np.random.default_rng(0))
    raw, mask, _ = view(item, 64, 1.5, STILL, 1.0, np.random.default_rng(9))
    assert torch.allclose(image[0], ((raw + 1024) / 812 - 1).clamp(-1, 1), atol=1e-5)
    assert torch.equal(label[0], mask)
