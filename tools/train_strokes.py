"""Train the network that finds what a stroke in the Correct module means.

    python tools/train_strokes.py DATASET [--out FILE] [--check]

DATASET is a folder as tools/lung_ct_dataset.py writes it; its held-out cases (imagesTs) are not read. A robot draws strokes into errors
of masks: those of lung-ct on a narrow window, and masks spoilt on purpose. --check trains without a fourth of the patients each time,
and prints how much of the errors of these strokes mend.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy import ndimage
from stroke_robot import draw, errors, narrowed, wrong_masks

from napari_lungseg.edit.stroke import WEIGHTS, block_mean, look_around, region_in
from napari_lungseg.edit.stroke_features import Around, features
from napari_lungseg.formats import read
from napari_lungseg.model import DEFAULT_MODEL, load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume, scaling

ERRORS, STROKES, VOXELS, EPOCHS, HIDDEN, SLICES = 5, 3, 500, 12, (48, 32), 40


class Drawn(NamedTuple):
    """A stroke, with all that it was drawn on."""

    patient: str
    image: np.ndarray
    mask: np.ndarray
    probability: np.ndarray
    truth: np.ndarray
    stroke: np.ndarray
    spacing: tuple[float, ...]
    missing: bool


def strokes(dataset: Path, seed: int = 1) -> Iterator[Drawn]:
    """Strokes in errors of all training cases that have lungs."""
    model, patients = load_model(DEFAULT_MODEL), json.loads((dataset / "dataset.json").read_text())["patients"]
    for number, path in enumerate(sorted((dataset / "imagesTr").glob("*.nii.gz"))):
        case = path.name.removesuffix("_0000.nii.gz")
        image, labels = (read(one).reorient()[0] for one in (path, dataset / "labelsTr" / f"{case}.nii.gz"))
        array, truth = (np.asarray(one.array).reshape((-1, *one.array.shape[-2:])) for one in (image, labels))
        if not truth.any():
            continue
        rng = np.random.default_rng((seed, number))
        # Of a long volume a part, and some images with larger pixels.
        first, coarser = int(rng.integers(max(1, len(array) - SLICES + 1))), int(rng.choice([1, 1, 1, 2, 4]))
        where = np.s_[first : first + SLICES, ::coarser, ::coarser]
        array, truth = array[where], truth[where]
        steps = (5.0,) * (3 - len(image.spacing)) + tuple(float(step) for step in image.spacing)
        spacing = (steps[0], steps[1] * coarser, steps[2] * coarser)
        narrow = narrowed(array)
        found = segment(Volume(narrow, scaling(spacing)), model)
        tries = [(narrow, np.asarray(found.labels.array) > 0, np.asarray(found.probability.array))]
        for spoilt in wrong_masks(array, truth, spacing, rng):
            # A model is unsure where it is wrong, more or less.
            soft = ndimage.gaussian_filter(100 * spoilt.astype(np.float32), (0, *2 * [rng.uniform(0.5, 4)]))
            tries.append((array, spoilt, np.clip(soft + rng.normal(0, 3), 0, 100).astype(np.uint8)))
        for seen, mask, probability in tries:
            mask = mask.astype(np.uint8)
            for error in errors(mask, truth, spacing)[:ERRORS]:
                for _ in range(STROKES):
                    index = int(rng.choice(np.flatnonzero(error.where.sum(axis=(1, 2)) >= error.where[error.index].sum() / 2)))
                    stroke = np.zeros(mask.shape, bool)
                    stroke[index], _length = draw(error.where[index], spacing[1:], rng)
                    yield Drawn(patients[case], seen, mask, probability, truth, stroke, spacing, error.missing)


def looked_at(drawn: Drawn) -> Around:
    """What is near a stroke."""
    label = 0 if drawn.missing else 1
    return look_around(drawn.image, drawn.mask, drawn.stroke, drawn.spacing, label, None, drawn.probability)


def examples(drawn: Drawn, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features of voxels near a stroke, and which of them are meant."""
    around = looked_at(drawn)
    described = features(around)
    wrong = ((drawn.truth > 0) != (drawn.mask > 0))[around.box]
    parts, _ = ndimage.label((block_mean(wrong.astype(np.float32), around.factors) > 0.5) & around.domain)
    meant = np.isin(parts, np.unique(parts[around.stroke & (parts > 0)])) & (parts > 0)
    answers, others = meant[around.domain], np.flatnonzero(~around.stroke[around.domain])
    nearest = others[np.argsort(described[others, 0])]
    few = nearest[: max(200, 6 * np.count_nonzero(answers))]
    chosen = np.concatenate([rng.choice(few, VOXELS), rng.choice(others, VOXELS // 4)])
    return described[chosen], answers[chosen]


def fit(described: np.ndarray, answers: np.ndarray) -> dict[str, np.ndarray]:
    """Train the network."""
    torch.manual_seed(0)
    mean, deviation = described.mean(axis=0), described.std(axis=0) + 1e-3
    values = torch.from_numpy(np.clip((described - mean) / deviation, -5, 5))
    wanted = torch.from_numpy(answers.astype(np.float32))
    layers = [torch.nn.Linear(described.shape[1], HIDDEN[0]), torch.nn.Linear(*HIDDEN), torch.nn.Linear(HIDDEN[1], 1)]
    first, second, last = layers
    net = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Dropout(0.1), second, torch.nn.ReLU(), last)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * (len(values) // 2048 + 1))
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(values)).split(2048):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(net(values[batch])[:, 0], wanted[batch]).backward()
            optimizer.step()
            schedule.step()
    weights = {"mean": mean, "deviation": deviation}
    for name, layer in zip(("first", "second", "last"), layers, strict=True):
        weights |= {f"{name}.weight": layer.weight.detach().numpy(), f"{name}.bias": layer.bias.detach().numpy()}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def gain(drawn: Drawn, weights: dict[str, np.ndarray]) -> float:
    """Part of the stroke's error on its slice that the region mends, less what it spoils."""
    index = int(np.flatnonzero(drawn.stroke.any(axis=(1, 2)))[0])
    region = region_in(looked_at(drawn), weights)
    wrong = ((drawn.truth > 0) != (drawn.mask > 0))[index]
    parts, _ = ndimage.label(wrong)
    own = np.isin(parts, np.unique(parts[drawn.stroke[index] & wrong])) & wrong
    change = np.zeros(wrong.shape, bool)
    change[region.box[1:]] = region.at()[index - region.box[0].start]
    return float(((change & wrong).sum() - (change & ~wrong).sum()) / max(own.sum(), 1))


def main() -> None:
    """Train, and check if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    patients, described, answers, kept = [], [], [], []
    for number, drawn in enumerate(strokes(chosen.dataset)):
        one = examples(drawn, rng)
        patients += [drawn.patient] * len(one[1])
        described.append(one[0])
        answers.append(one[1])
        if chosen.check and number % 12 == 0:
            kept.append(drawn)
        if number % 100 == 0:
            print(number, "strokes", flush=True)
    owner, inputs, outputs = np.array(patients), np.concatenate(described), np.concatenate(answers)
    save_file(fit(inputs, outputs), chosen.out)
    print(f"{len(outputs):,} voxels of {len(described):,} strokes; written: {chosen.out.name}", flush=True)
    if chosen.check:
        names = sorted(set(patients))
        gains = []
        for fold in range(4):
            out = names[fold::4]
            learnt = ~np.isin(owner, out)
            weights = fit(inputs[learnt], outputs[learnt])
            gains += [(drawn.missing, gain(drawn, weights)) for drawn in kept if drawn.patient in out]
        for missing in (True, False):
            values = np.clip([value for what, value in gains if what == missing], -1, 1)
            print(f"{'missing' if missing else 'too much'}: {len(values)} strokes, mean part mended {values.mean():.3f}, "
                  f"median {np.median(values):.3f}, worse than before {(values < 0).mean():.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
