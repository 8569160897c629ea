"""Every loss against its definition, MONAI's where that has the same, and pixels that nobody has judged."""

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from napari_lungseg.training.losses import LOSSES, channels, distillation, without_new
from napari_lungseg.training.samples import IGNORE


def example(classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    logits = torch.randn(3, 1 if classes == 1 else classes + 1, 12, 10, dtype=torch.float64)
    return logits, torch.randint(0, classes + 1, (3, 12, 10)).to(torch.uint8)


def one_hot(label: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(label.long(), classes + 1).permute(0, 3, 1, 2).double()


@pytest.mark.parametrize("classes", [1, 3])
def test_cross_entropy_is_minus_the_mean_log_probability_of_the_label(classes: int) -> None:
    logits, label = example(classes)
    probability = torch.softmax(channels(logits), dim=1)
    wanted = -torch.log((probability * one_hot(label, classes)).sum(dim=1)).mean()
    assert LOSSES["ce"](logits, label) == pytest.approx(float(wanted))


def test_bce_of_several_classes_takes_each_against_the_others() -> None:
    logits, label = example(3)
    probability, target = torch.softmax(logits, dim=1)[:, 1:], one_hot(label, 3)[:, 1:]
    wanted = -(target * probability.log() + (1 - target) * (1 - probability).log()).mean()
    assert LOSSES["bce"](logits, label) == pytest.approx(float(wanted))
    one, both = example(1)
    assert LOSSES["bce"](one, both) == pytest.approx(float(torch.nn.functional.binary_cross_entropy_with_logits(one[:, 0], both.double())))


@pytest.mark.parametrize("classes", [1, 3])
def test_dice_and_cross_entropy_are_those_of_monai(classes: int) -> None:
    logits, label = example(classes)
    same = {"squared_pred": True, "batch": True, "smooth_nr": 1.0, "smooth_dr": 1.0}
    if classes == 1:
        target = label[:, None].double()
        dice = DiceLoss(sigmoid=True, **same)(logits, target)
        both = DiceCELoss(sigmoid=True, **same)(logits, target)
    else:
        target = one_hot(label, classes)
        dice = DiceLoss(softmax=True, include_background=False, **same)(logits, target)
        both = dice + torch.nn.CrossEntropyLoss()(logits, target)
    assert LOSSES["dice"](logits, label) == pytest.approx(float(dice))
    assert LOSSES["ce-dice"](logits, label) == pytest.approx(float(both))


def test_losses_that_are_sums_are_sums() -> None:
    for classes in (1, 3):
        logits, label = example(classes)
        for name in ("bce-dice", "ce-dice"):
            parts = [float(LOSSES[part](logits, label)) for part in name.split("-")]
            assert LOSSES[name](logits, label) == pytest.approx(sum(parts))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_pixels_that_nobody_has_judged_give_no_gradient(loss: str, classes: int) -> None:
    logits, label = example(classes)
    label[:, :5] = IGNORE
    logits.requires_grad_(True)
    LOSSES[loss](logits, label).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, :5].any()
    assert logits.grad[:, :, 5:].any()
    # And what lies there has no say in the value.
    changed = logits.detach().clone()
    changed[:, :, :5] = 17.0
    assert LOSSES[loss](changed, label) == pytest.approx(float(LOSSES[loss](logits.detach(), label)))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_where_nothing_was_judged_there_is_nothing_to_learn(loss: str, classes: int) -> None:
    logits, label = example(classes)
    logits.requires_grad_(True)
    value = LOSSES[loss](logits, torch.full_like(label, IGNORE))
    value.backward()
    assert float(value.detach()) == 0.0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_fall_as_the_prediction_gets_better(loss: str) -> None:
    label = torch.zeros(1, 8, 8, dtype=torch.uint8)
    label[:, :4] = 1
    right = torch.where(label == 1, 1.0, -1.0)[:, None]
    values = [float(LOSSES[loss](right * sharp, label)) for sharp in (-4.0, 0.5, 4.0, 40.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.01


def test_classes_that_a_label_does_not_know_count_as_background() -> None:
    logits, _ = example(3)
    seen = torch.softmax(without_new(logits, 1), dim=1)
    whole = torch.softmax(logits, dim=1)
    assert torch.allclose(seen[:, 1], whole[:, 1])
    assert torch.allclose(seen[:, 0], whole[:, 0] + whole[:, 2:].sum(dim=1))
    # So a voxel of a new class may be called background without anything being unlearnt.
    sure = torch.tensor([0.0, -9.0, 9.0])[None, :, None, None]
    assert float(LOSSES["ce"](without_new(sure, 1), torch.zeros(1, 1, 1, dtype=torch.uint8))) < 1e-3


def test_distillation_is_zero_for_equals_and_the_divergence_otherwise() -> None:
    (student, _), (teacher, _) = example(2), example(2, seed=1)
    assert float(distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-12)
    p, q = torch.softmax(teacher, dim=1), torch.softmax(student, dim=1)
    assert float(distillation(student, teacher)) == pytest.approx(float((p * (p / q).log()).sum(dim=1).mean()))
    assert np.isfinite(float(distillation(channels(torch.full((1, 1, 2, 2), 900.0)), channels(torch.full((1, 1, 2, 2), -900.0)))))
