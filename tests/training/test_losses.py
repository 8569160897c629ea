import pytest
import torch

from napari_lungseg.training.losses import LOSSES, SMOOTH


def test_losses_follow_their_definitions() -> None:
    logits = torch.tensor([0.0, 2.0, -1.0, 3.0]).reshape(1, 1, 2, 2)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    p = torch.sigmoid(logits)
    bce = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    dice = 1 - (2 * (p * target).sum() + SMOOTH) / ((p**2).sum() + (target**2).sum() + SMOOTH)
    assert float(LOSSES["bce"](logits, target)) == pytest.approx(float(bce), rel=1e-5)
    assert float(LOSSES["dice"](logits, target)) == pytest.approx(float(dice), rel=1e-5)
    assert float(LOSSES["bce-dice"](logits, target)) == pytest.approx(float(bce + dice), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_right_answer_costs_nothing_and_empty_labels_are_defined(name: str) -> None:
    target = torch.zeros(2, 1, 8, 8)
    target[0, :, 2:5, 2:5] = 1
    assert float(LOSSES[name](200.0 * target - 100.0, target)) == pytest.approx(0.0, abs=1e-4)
    empty = torch.zeros(1, 1, 8, 8)
    assert float(LOSSES[name](empty - 100.0, empty)) == pytest.approx(0.0, abs=1e-4)
