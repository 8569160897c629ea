from __future__ import annotations

import copy
import os
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from to_be_killed import Forks

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.errors import InputError
from napari_lungseg.predicted import Notice
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.run_files import BEST, LAST
from napari_lungseg.training import fit as fitting
from napari_lungseg.training.augmentation import AugmentSettings, IntensitySettings, SpatialSettings
from napari_lungseg.training.batches import Batches, BatchesAhead, SliceSampler, ViewSamplers
from napari_lungseg.training.dataset import open_dataset
from napari_lungseg.training.fit import ALONE, TrainingJob, fit, load_state, save_state
from napari_lungseg.training.judge import Judge
from napari_lungseg.training.samples import IGNORE, LabelledSlice, slices_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.step import Learner
from napari_lungseg.training.updates import EpochDone, StepDone, finish
from napari_lungseg.unet import UNet

TINY = UNetConfig(base_width=8, depth=2, norm="group", patch=2)
COARSE = Preprocessing(spacing_mm=3.0)
#: Intensities as they are.
PLAIN = IntensitySettings(kernel=0, noise=0, low_resolution=0, brightness=0, contrast=0, gamma=0, eight_bit=0, recolour=0)


@pytest.fixture(scope="module")
def slices(chests: Path) -> list[LabelledSlice]:
    data = open_dataset(chests)
    return [item for case in data.cases for item in slices_of(case, *data.load(case), COARSE)]


def settings(**changes) -> TrainSettings:
    return TrainSettings(**{"epochs": 2, "steps_per_epoch": 4, "batch_size": 2, "view_px": 32, "coarse_share": 0.5, **changes})


def job(slices, chosen: TrainSettings, *, validation=(), replay=None, unjudged=None, preprocessing=COARSE, **more) -> TrainingJob:
    mix = ViewSamplers(
        SliceSampler(slices, {}),
        SliceSampler(replay, {}) if replay else None,
        SliceSampler(unjudged, {}) if unjudged else None,
        1,
        preprocessing,
    )
    return TrainingJob(Batches(mix, chosen), chosen, Judge(preprocessing, ("lung",), chosen.loss), validation, **more)


def network(config: UNetConfig = TINY) -> UNet:
    torch.manual_seed(0)
    return UNet(config)


def weights(net: UNet) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_network_learns_a_handful_of_slices_by_heart(slices, tmp_path: Path) -> None:
    mild = AugmentSettings(
        spatial=SpatialSettings(0, 5, 8, 0.1, 0, 0.5, 0, 0), intensity=PLAIN,
        disease=0, gas=0, arms=0, table=0, cut_off=0,
    )  # fmt: skip
    chosen = settings(
        epochs=7, steps_per_epoch=20, batch_size=2, view_px=96, coarse_share=0.0, learning_rate=2e-2, average=0.9, augmentation=mild
    )
    fine, few = Preprocessing(spacing_mm=1.05), slices[:3]
    net = network(UNetConfig(base_width=16, depth=2, norm="batch", patch=2))
    updates = list(fit(net, job(few, chosen, validation=few, preprocessing=fine), tmp_path))
    epochs = [update for update in updates if isinstance(update, EpochDone)]
    assert epochs[-1].train.loss < 0.2 * epochs[0].train.loss
    assert max(epoch.validation.dice["lung"] for epoch in epochs) > 0.99
    found, _ = Judge(fine, ("lung",)).find(net, few[0])
    dice = 2 * ((found == 1) & (few[0].label == 1)).sum() / ((found == 1).sum() + (few[0].label == 1).sum())
    assert dice > 0.99


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resumed_run_ends_like_an_unbroken_one(slices, tmp_path: Path, stop_after: int) -> None:
    chosen = settings(epochs=3)
    whole, broken, again = network(), network(), network()
    watched = slices[6:]
    told = [u for u in fit(whole, job(slices[:6], chosen, validation=watched), tmp_path / "whole") if isinstance(u, EpochDone)]
    run = fit(broken, job(slices[:6], chosen, validation=watched), tmp_path / "broken")
    for _ in range(stop_after):
        while not isinstance(next(run), EpochDone):
            pass
    next(run)  # stopped in the middle of an epoch: that epoch is done again
    run.close()
    resumed = list(fit(again, job(slices[:6], chosen, validation=watched), tmp_path / "broken", resume=True))
    epochs = [u for u in resumed if isinstance(u, EpochDone)]
    assert [u.epoch for u in epochs] == list(range(stop_after, 3))
    for one, other in zip(told[stop_after:], epochs, strict=True):
        assert one.validation.dice["lung"] == pytest.approx(other.validation.dice["lung"], abs=1e-6)
        assert one.best == other.best
    assert torch.allclose(weights(again), weights(whole), atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(slices, tmp_path: Path) -> None:
    nets = []
    for number, seed in enumerate((1, 1, 2)):
        nets.append(network())
        for _ in fit(nets[-1], job(slices, settings(seed=seed)), tmp_path / str(number)):
            pass
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))


def test_best_epoch_is_kept_not_the_last(slices, tmp_path: Path) -> None:
    # A rate at which the second half of the run goes astray.
    chosen = settings(epochs=6, learning_rate=0.3, schedule="constant", warm_up=0.0, average=0.0)
    net, scores = network(), []
    for update in fit(net, job(slices[:6], chosen, validation=slices[6:]), tmp_path):
        if isinstance(update, EpochDone):
            scores.append(update.validation.mean_dice)
    kept = finish(Judge(COARSE, ("lung",)).score(net, slices[6:]))
    assert kept.mean_dice == pytest.approx(np.nanmax(scores), abs=1e-6)


def test_run_ends_early_when_nothing_gets_better(slices, tmp_path: Path) -> None:
    frozen = settings(epochs=50, learning_rate=1e-12, patience=2)
    epochs = [u for u in fit(network(), job(slices[:6], frozen, validation=slices[6:]), tmp_path) if isinstance(u, EpochDone)]
    assert len(epochs) == 3


class Clock:
    """Seconds that pass only where a test lets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of a run, in place of the machine's."""
    clock = Clock()
    monkeypatch.setattr(fitting, "time", clock)
    return clock


def test_time_budget_ends_the_run(slices, tmp_path: Path, clock: Clock) -> None:
    """Each step takes ten seconds, so six of them take the minute that there is."""

    class Slow(UNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            clock.now += 10.0
            return super().forward(x)

    updates = list(fit(Slow(TINY), job(slices, settings(epochs=10_000, minutes=1.0)), tmp_path))
    assert [update.seconds for update in updates if isinstance(update, StepDone)] == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    assert updates[-1].progress <= 1.0


def test_time_while_nobody_drives_the_run_does_not_count(slices, tmp_path: Path, clock: Clock) -> None:
    run = fit(network(), job(slices, settings()), tmp_path)
    first = next(run)
    clock.now += 100.0
    assert next(run).seconds == first.seconds


def test_asked_to_stop_it_ends_with_what_it_has(slices, tmp_path: Path) -> None:
    asked = []
    updates = []
    net = network()
    before = weights(net)
    for update in fit(net, job(slices[:6], settings(epochs=100), validation=slices[6:]), tmp_path, should_stop=lambda: bool(asked)):
        updates.append(update)
        if isinstance(update, StepDone) and update.epoch == 1 and update.epoch_step == 2:
            asked.append(True)
    assert [u.epoch for u in updates if isinstance(u, EpochDone)] == [0, 1]
    assert not torch.equal(weights(net), before)


def test_untouched_slices_and_ignored_voxels_do_not_move_the_weights(slices, tmp_path: Path) -> None:
    blank = [LabelledSlice("x", 0, s.image, np.full_like(s.label, IGNORE), s.spacing_mm, s.intensity_range, True) for s in slices]
    net, chosen = network(), settings(weight_decay=0.0)
    before = weights(net).clone()
    for _ in fit(net, job(blank, chosen), tmp_path):
        pass
    assert torch.equal(weights(net), before)


def test_scribbles_alone_teach(slices, tmp_path: Path) -> None:
    """A few strokes inside the lung and outside, all else not judged."""
    sparse = []
    for item in slices[:6]:
        label = np.full_like(item.label, IGNORE)
        stroke = np.arange(item.label.shape[0])[:, None] % 16 < 4
        label[stroke & (item.label == 1)] = 1
        label[stroke & (item.label == 0)] = 0
        sparse.append(LabelledSlice(item.case, item.index, item.image, label, item.spacing_mm, item.intensity_range, True))
    chosen = settings(epochs=8, steps_per_epoch=20, view_px=64, coarse_share=0.0, learning_rate=1e-2, average=0.9, batch_size=4)
    fine, net = Preprocessing(spacing_mm=1.6), network()
    scores = [
        u.validation.mean_dice
        for u in fit(net, job(sparse, chosen, validation=slices[6:], preprocessing=fine), tmp_path)
        if isinstance(u, EpochDone)
    ]
    assert max(scores) > 0.9


def test_frozen_encoder_stays_and_the_rest_moves(slices, tmp_path: Path) -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    for _ in fit(net, job(slices, settings(encoder_rate=0.0)), tmp_path):
        pass
    moved = {name.split(".")[0] for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"up", "head"}
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["poly", "cosine", "constant"])
def test_every_optimizer_and_schedule_learns(slices, tmp_path: Path, optimizer: str, schedule: str) -> None:
    rate = 0.01 if optimizer == "sgd" else 3e-3
    chosen = settings(epochs=3, steps_per_epoch=10, optimizer=optimizer, schedule=schedule, learning_rate=rate, momentum=0.9)
    losses = [u.train.loss for u in fit(network(), job(slices, chosen), tmp_path) if isinstance(u, EpochDone)]
    assert losses[-1] < losses[0]


def test_base_teaches_on_slices_that_nobody_has_judged(slices, tmp_path: Path) -> None:
    """A student that learns from a wrong teacher alone comes to say what that says."""
    teacher = network().eval()
    with torch.no_grad():
        teacher.head.weight.zero_()
        teacher.head.bias.fill_(3.0)
    blank = [LabelledSlice("x", 0, s.image, np.full_like(s.label, IGNORE), s.spacing_mm, s.intensity_range, True) for s in slices]
    chosen = settings(epochs=4, steps_per_epoch=10, distillation=0.8, batch_size=5, learning_rate=1e-2, average=0.5)
    student = network()
    for _ in fit(student, job(blank, chosen, unjudged=blank, teacher=teacher), tmp_path):
        pass
    found, _ = Judge(COARSE, ("lung",)).find(student, slices[0])
    assert (found == 1).mean() > 0.9


def test_damaged_or_foreign_checkpoint_is_refused(slices, tmp_path: Path) -> None:
    plain = job(slices, settings())
    with pytest.raises(InputError, match="no checkpoint"):
        next(fit(network(), plain, tmp_path / "none", resume=True))
    (tmp_path / LAST).write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"last\.pt is not a readable checkpoint"):
        next(fit(network(), plain, tmp_path, resume=True))
    list(fit(network(), job(slices, settings(epochs=1, steps_per_epoch=1)), tmp_path / "other"))
    with pytest.raises(InputError, match="another network"):
        next(fit(network(UNetConfig(base_width=4, depth=1)), plain, tmp_path / "other", resume=True))


def test_a_disk_that_refuses_leaves_the_older_checkpoint(slices, tmp_path: Path, monkeypatch) -> None:
    list(fit(network(), job(slices, settings(epochs=1)), tmp_path))
    before = (tmp_path / LAST).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"last\.pt could not be written: No space left on device\. .* make room there"):
        save_state(tmp_path / LAST, {})
    assert (tmp_path / LAST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name not in (LAST, BEST)] == []


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_while_it_writes_a_checkpoint_is_always_whole(tmp_path: Path) -> None:
    path, rng = tmp_path / LAST, np.random.default_rng(0)
    imports = "import itertools, torch; from pathlib import Path; from napari_lungseg.training.fit import save_state"
    work = (
        "for number in itertools.count():\n"
        f"    save_state(Path({str(path)!r}), {{'number': number, 'weights': torch.full((500_000,), float(number))}})\n"
        "    print(number, flush=True)"
    )
    with closing(Forks(imports, work)) as forks:
        for _ in range(4):
            path.unlink(missing_ok=True)
            with forks.started() as told:
                assert next(told) == "0\n"
                time.sleep(rng.uniform(0.0, 0.3))  # to kill it anywhere in a write
            state = load_state(path)
            assert (state["weights"] == state["number"]).all()


def test_when_the_memory_runs_out_fewer_views_go_at_once_and_the_gradient_stays(slices, tmp_path: Path) -> None:
    class Small(UNet):
        """Has no room for more than one view."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training and len(x) > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 999 bytes")
            return super().forward(x)

    torch.manual_seed(0)
    small, roomy = Small(TINY), network()
    # Without the Dice part, the loss of a batch is the mean over its views.
    chosen = settings(loss="bce", optimizer="sgd", average=0.0, epochs=1, steps_per_epoch=2)
    start = weights(roomy)
    updates = list(fit(small, job(slices, chosen), tmp_path / "small"))
    assert [u.text for u in updates if isinstance(u, Notice)][-1] == "The memory ran out: going on with 1 view at a time."
    list(fit(roomy, job(slices, chosen), tmp_path / "roomy"))
    # Gradients in bfloat16, where the processor has it, depend a little on how many views go at once.
    assert torch.dist(weights(small), weights(roomy)) < 0.05 * torch.dist(weights(roomy), start)


def test_a_device_without_lower_precision_learns_in_float32(slices, tmp_path: Path, monkeypatch) -> None:
    seen = []

    class Watched(UNet):
        """Notes in what precision it computes."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x)
            seen.append(logits.dtype)
            return logits

    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    # As torch 2.4 is on Apple GPUs, where it raises even where it is asked not to compute with less precision.
    monkeypatch.setattr(torch.amp.autocast_mode, "is_autocast_available", lambda device: False)
    list(fit(Watched(TINY), job(slices, settings(epochs=1)), tmp_path))
    assert set(seen) == {torch.float32}


def test_memory_that_does_not_suffice_for_one_view_is_told_with_what_to_do(slices) -> None:
    class Full(UNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("CUDA out of memory")

    learner = Learner(Full(TINY), "bce", ALONE)
    batch = job(slices, settings()).batches.draw(0, 0.9)
    with pytest.raises(InputError, match="make the views smaller"):
        learner.learn(batch, 2, None)


def test_networks_that_read_neighbouring_slices_are_refused(slices, tmp_path: Path) -> None:
    net = UNet(UNetConfig(base_width=8, depth=1, context_slices=1))
    with pytest.raises(InputError, match="single slices"):
        next(fit(net, job(slices, settings()), tmp_path))


def test_the_next_batch_is_drawn_while_one_is_learnt_from_and_is_the_same(slices) -> None:
    batches = job(slices, settings()).batches
    with BatchesAhead(batches, 0) as ahead:
        taken = [ahead.take(step, 0.2 * step, 0.2 * (step + 1)) for step in (0, 1, 2)]
        again = ahead.take(0, 0.0, 1.0)
    for step, batch in enumerate([*taken, again]):
        alone = batches.draw(step % 3, 0.2 * (step % 3))
        assert torch.equal(batch.image, alone.image)
        assert torch.equal(batch.label, alone.label)
