"""Held against the package lungmask itself, with weights of its own size; `tox -e parity` installs it."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from lungmask_files import OWN_WIDTH, SMALL_WIDTH, write_weights

from napari_lungseg.foreign.lungmask_weights import read_lungmask
from napari_lungseg.framing import framing_of
from napari_lungseg.lungmask import tidy
from napari_lungseg.model import Model
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume

pytest.importorskip("lungmask", reason="lungmask is not installed: tox -e parity compares with it")
PACKAGE = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_lungmask_reference.py"))

#: Part of the voxels whose two most likely classes may differ by less than float32 adds up exactly.
TIES = 1e-5


def pictures() -> dict[str, Volume]:
    """The sample in whole numbers and in others, larger and smaller than the network's square, and without a body."""
    ct = sample_ct().reorient()[0].crop((slice(8, 16), slice(None), slice(None)))
    rng = np.random.default_rng(0)
    floats = ct.with_array(ct.array + rng.normal(0, 3, ct.shape).astype(np.float32), "HU")
    large = Volume(ct.array.repeat(2, 1).repeat(2, 2), ct.affine, "HU")
    small = Volume(np.ascontiguousarray(ct.array[:, ::3, ::2]), ct.affine, "HU")
    air = Volume(np.full((1, 64, 64), -1000, np.int16), ct.affine, "HU")
    return {"whole numbers": ct, "other numbers": floats, "large": large, "small": small, "air": air}


def model_of(path: Path) -> Model:
    foreign = read_lungmask(path)
    return Model.of_weights(foreign.weights, foreign.card, path.parent)


@pytest.mark.parametrize("kind", pictures())
def test_the_network_is_given_what_the_package_gives_it(kind, tmp_path):
    volume, card = pictures()[kind], read_lungmask(write_weights(tmp_path / "w.pth", 3)).card
    framing, intensity_range = framing_of(card.preprocessing), card.preprocessing.intensity_range(volume)
    cut = framing.cut(volume, intensity_range)
    cuts = [(plane, *cut.of(plane)) for plane in volume.array]
    given = [framing.plane(plane[box], spacing, intensity_range, card.architecture) for plane, box, spacing in cuts]
    np.testing.assert_array_equal(given, PACKAGE["package_inputs"](np.asarray(volume.array)))


@pytest.mark.parametrize("classes", [3, 6])
def test_a_network_of_its_own_size_gives_its_log_probabilities(classes, tmp_path):
    model = model_of(write_weights(tmp_path / "w.pth", classes, OWN_WIDTH))
    network = PACKAGE["package_network"](classes, OWN_WIDTH)
    images = torch.from_numpy(PACKAGE["package_inputs"](np.asarray(pictures()["whole numbers"].array[:2]))[:, None])
    with torch.inference_mode():
        assert (torch.log_softmax(model.network(images), dim=1) - network(images)).abs().max() < 1e-5


@pytest.mark.parametrize("postprocess", [False, True])
@pytest.mark.parametrize(
    ("kind", "classes", "width"),
    [("whole numbers", 3, OWN_WIDTH), *((kind, classes, SMALL_WIDTH) for kind in pictures() for classes in (3, 6))],
)
def test_the_labels_are_those_of_the_package(kind, classes, width, postprocess, tmp_path):
    volume = pictures()[kind]
    expected = PACKAGE["package_labels"](np.asarray(volume.array), PACKAGE["package_network"](classes, width), postprocess=postprocess)
    found = segment(volume, model_of(write_weights(tmp_path / "w.pth", classes, width)), device="cpu", postprocess=postprocess)
    assert np.count_nonzero(found.labels.array != expected) <= 1 + TIES * expected.size


def test_post_processing_is_that_of_the_package_on_labels_of_any_shape():
    from lungmask.utils import postprocessing
    from scipy import ndimage

    rng = np.random.default_rng(0)
    for shape in ((1, 40, 40), (6, 24, 24), (10, 30, 20), (2, 64, 64)):
        for classes, sigma in ((2, 0.0), (3, 1.0), (6, 1.0), (6, 2.0)):
            labels = ndimage.gaussian_filter(rng.normal(size=(classes, *shape)), (0, sigma / 2, sigma, sigma)).argmax(axis=0)
            labels = labels.astype(np.uint8)
            np.testing.assert_array_equal(tidy(labels), postprocessing(labels.copy(), disable_tqdm=True))
