from pathlib import Path

import numpy as np
import pytest
import torch

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.errors import InputError
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.augment import AugmentSettings
from napari_lungseg.training.dataset import SliceSampler, open_dataset, slices_of
from napari_lungseg.training.fit import EpochDone, StepDone, TrainSettings, fit
from napari_lungseg.training.intensity import IntensitySettings
from napari_lungseg.training.spatial import SpatialSettings
from napari_lungseg.unet import UNet

TINY = UNetConfig(base_width=8, depth=2, norm="group", patch=2)


@pytest.fixture(scope="module")
def sampler(chests: Path) -> SliceSampler:
    data = open_dataset(chests)
    slices = [item for case in data.train for item in slices_of(case, *data.load(case), Preprocessing())]
    return SliceSampler(slices, data.patients)


def settings(**changes) -> TrainSettings:
    return TrainSettings(**{"epochs": 2, "steps_per_epoch": 4, "batch_size": 2, "view_px": 32, **changes})


def network() -> UNet:
    torch.manual_seed(0)
    return UNet(TINY)


def weights(net: UNet) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_network_learns_a_handful_of_slices_by_heart(sampler: SliceSampler, tmp_path: Path) -> None:
    plain = AugmentSettings(
        SpatialSettings(any_rotation=0, rotation_deg=5, translation_mm=5, log_scale=0.05, elastic=0),
        IntensitySettings(eight_bit=0, recolour=0, low_resolution=0),
        disease=0, gas=0, arms=0, table=0, cut_off=0,
    )  # fmt: skip
    net = network()
    chosen = settings(epochs=6, steps_per_epoch=25, batch_size=4, view_px=64, learning_rate=1e-2, average=0.9, augmentation=plain)
    losses = [u.loss for u in fit(net, sampler, 1.6, chosen, tmp_path / "c.pt") if isinstance(u, EpochDone)]
    assert losses[-1] < 0.25 * losses[0]
    item = sampler.slices[0]
    image = torch.from_numpy(np.clip((item.image.astype(np.float32) + 1024) / 812 - 1, -1, 1))[None, None]
    with torch.inference_mode():
        # The slice has pixels of 1.05 mm, the views had 1.6 mm.
        small = torch.nn.functional.interpolate(image, scale_factor=1.05 / 1.6, mode="bilinear", antialias=True)
        found = torch.nn.functional.interpolate(net(small), size=image.shape[-2:], mode="bilinear")[0, 0].numpy() > 0
    dice = 2 * (found & item.label).sum() / (found.sum() + item.label.sum())
    assert dice > 0.93


def test_resumed_run_ends_like_an_unbroken_one(sampler: SliceSampler, tmp_path: Path) -> None:
    whole, broken = network(), network()
    for _ in fit(whole, sampler, 3.0, settings(), tmp_path / "whole.pt"):
        pass
    run = fit(broken, sampler, 3.0, settings(), tmp_path / "broken.pt")
    while not isinstance(next(run), EpochDone):
        pass
    next(run)  # stopped in the middle of an epoch: that epoch is done again
    run.close()
    again = network()
    updates = list(fit(again, sampler, 3.0, settings(), tmp_path / "broken.pt", resume=True))
    assert [u.step for u in updates if isinstance(u, StepDone)] == [4, 5, 6, 7]
    assert torch.allclose(weights(again), weights(whole), atol=1e-6)


def test_time_budget_ends_the_run(sampler: SliceSampler, tmp_path: Path) -> None:
    updates = list(fit(network(), sampler, 3.0, settings(epochs=10_000, minutes=0.03), tmp_path / "c.pt"))
    assert 0 < len(updates) < 5_000
    assert updates[-1].progress <= 1.0


def test_damaged_or_foreign_checkpoint_is_refused(sampler: SliceSampler, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        next(fit(network(), sampler, 3.0, settings(), tmp_path / "none.pt", resume=True))
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"bad\.pt is not a readable checkpoint"):
        next(fit(network(), sampler, 3.0, settings(), tmp_path / "bad.pt", resume=True))
    list(fit(network(), sampler, 3.0, settings(epochs=1, steps_per_epoch=1), tmp_path / "other.pt"))
    with pytest.raises(InputError, match="another network"):
        next(fit(UNet(UNetConfig(base_width=4, depth=1)), sampler, 3.0, settings(), tmp_path / "other.pt", resume=True))


@pytest.mark.parametrize(
    ("name", "value"), [("loss", "mse"), ("optimizer", "lion"), ("learning_rate", 0.0), ("minutes", -1.0), ("epochs", 0)]
)
def test_impossible_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError, match=str(value).removesuffix(".0")):
        settings(**{name: value})


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_changes_the_weights(optimizer, sampler: SliceSampler, tmp_path: Path) -> None:
    net = network()
    before = weights(net)
    list(fit(net, sampler, 3.0, settings(epochs=1, steps_per_epoch=2, optimizer=optimizer), tmp_path / "c.pt"))
    assert not torch.equal(weights(net), before)
