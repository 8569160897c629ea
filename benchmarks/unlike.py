"""Which images are told to be unlike the training data: ordinary ones, and such as the model has never seen.

    python benchmarks/unlike.py DATASET [IMAGE ...]

DATASET is a folder as tools/lung_ct_dataset.py writes it. Each case of imagesTr is held against all others of imagesTr, each of imagesTs
against imagesTr, as it is and changed in ways that images are: saved with a window, inverted, stored without the offset of HU, with the
greys of a T1 magnetic resonance image, speckle, upside down. More images, such as radiographs, may be given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_lungseg.cases.likeness import difference, grey_shares
from napari_lungseg.cases.ranking import MOST_UNLIKE
from napari_lungseg.formats import read
from napari_lungseg.model import DEFAULT_MODEL, load_model
from napari_lungseg.volume import Volume

#: HU and the grey values that tissue has in a T1-weighted image without contrast agent, about: air, lung, fat, fluid, muscle, bone.
T1_HU, T1_GREY = (-1024, -950, -700, -120, -60, 20, 60, 150, 300, 1000), (0, 5, 40, 900, 900, 350, 400, 200, 60, 20)


def windowed(low: float, high: float, *, inverted: bool = False) -> Callable[[Volume], Volume]:
    """8 bits of a window."""

    def change(image: Volume) -> Volume:
        seen = np.clip((np.asarray(image.array, np.float32) - low) / (high - low), 0, 1)
        return replace(image, array=np.rint(255 * (1 - seen if inverted else seen)).astype(np.uint8), unit="arbitrary")

    return change


def inverted_hu(image: Volume) -> Volume:
    return replace(image, array=(-1000 - np.asarray(image.array, np.int32)).astype(np.int16))


def without_offset(image: Volume) -> Volume:
    return replace(image, array=(np.asarray(image.array, np.int32) + 1024).astype(np.int16))


def like_t1(image: Volume) -> Volume:
    values = np.interp(np.asarray(image.array, np.float32), T1_HU, T1_GREY)
    values += np.random.default_rng(0).normal(0, 15, values.shape)
    return replace(image, array=values.clip(0).astype(np.int16), unit="arbitrary")


def speckle(image: Volume) -> Volume:
    values = np.random.default_rng(1).gamma(2, 30, image.array.shape)
    return replace(image, array=values.clip(0, 255).astype(np.uint8), unit="arbitrary")


def upside_down(image: Volume) -> Volume:
    return replace(image, array=np.asarray(image.array)[..., ::-1, :].copy())


CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "soft-tissue window, 8 bit": windowed(-160, 240),
    "lung window, 8 bit": windowed(-1350, 150),
    "inverted lung window, 8 bit": windowed(-1250, 250, inverted=True),
    "inverted HU": inverted_hu,
    "HU with an offset of 1024": without_offset,
    "greys of a T1 image": like_t1,
    "speckle": speckle,
    "upside down": upside_down,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("images", type=Path, nargs="*")
    given = parser.parse_args()
    wanted = load_model(DEFAULT_MODEL).card.preprocessing
    learnt = np.array([grey_shares(read(path), wanted) for path in sorted((given.dataset / "imagesTr").glob("*.nii.gz"))])
    found = {"learnt from, each against the others": [difference(one, np.delete(learnt, place, 0)) for place, one in enumerate(learnt)]}
    for path in sorted((given.dataset / "imagesTs").glob("*.nii.gz")):
        image = read(path)
        for name, change in {"held out": lambda image: image, **CHANGES}.items():
            shares = grey_shares(change(image), wanted)
            if shares is not None:
                found.setdefault(name, []).append(difference(shares, learnt))
    given_too = [shares for path in given.images if (shares := grey_shares(read(path), wanted)) is not None]
    if given_too:
        found["the images given"] = [difference(shares, learnt) for shares in given_too]
    print("| images | cases | told to be unlike | lowest (%) | median (%) | highest (%) |\n|---|---|---|---|---|---|")
    for name, values in found.items():
        low, middle, high = (100 * value for value in (min(values), float(np.median(values)), max(values)))
        print(f"| {name} | {len(values)} | {sum(100 * value > MOST_UNLIKE for value in values)} | {low:.0f} | {middle:.0f} | {high:.0f} |")


if __name__ == "__main__":
    main()
