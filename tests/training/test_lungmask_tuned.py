"""Weights of lungmask are trained on as others are: slices go in as for prediction, and what comes out is segmented with as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lungmask_files import write_weights

from napari_lungseg.errors import InputError
from napari_lungseg.library import FOLDER_VARIABLE
from napari_lungseg.model import import_model, load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.batches import Batches, SliceSampler, ViewSamplers
from napari_lungseg.training.judge import Judge
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.run_setup import make_job, read_setup
from napari_lungseg.training.samples import slices_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import CasesSource, FolderSource, TrainingCase
from napari_lungseg.training.updates import Finished

SETTINGS = TrainSettings.fine_tuning(
    epochs=3,
    steps_per_epoch=20,
    batch_size=1,
    view_px=256,
    coarse_share=0.0,
    learning_rate=2e-3,
    encoder_rate=1.0,
    average=0.8,
    augmentation=AugmentSettings.off(),
    minutes=None,
    patience=None,
)


@pytest.fixture(scope="module")
def cases(chests) -> list[TrainingCase]:
    """The drawn chests with the right and the left lung told apart."""
    data, found = FolderSource(chests).data, []
    for case in data.cases:
        image, labels = data.load(case)
        sides = np.asarray(labels.array).copy()
        middle = sides.shape[2] // 2
        sides[:, :, middle:][sides[:, :, middle:] == 1] = 2
        found.append(TrainingCase(case, case, image, image.with_array(sides)))
    return found


@pytest.fixture
def base(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "library"))
    return str(import_model(write_weights(tmp_path / "w.pth", 3, 8)))


def returned_by(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def test_slices_to_learn_from_are_what_prediction_gives_the_network(cases, base):
    card = load_model(base).card
    items = list(slices_of("a", cases[0].image, cases[0].labels, card.preprocessing))
    mix = ViewSamplers(SliceSampler(items[:1], {}), None, None, None, card.preprocessing)
    batch = Batches(mix, SETTINGS).draw(0, 0.5)
    assert batch.image.shape == (1, 1, 256, 256)
    assert 0 <= batch.image.min() < 0.1
    assert 0.5 < batch.image.max() <= 1
    # The judge finds on a slice what the mask of the volume has there.
    model = load_model(base)
    found, _ = Judge(card.preprocessing, card.classes).find(model.network, items[0])
    mask = segment(cases[0].image, model, device="cpu", postprocess=False).labels.reorient()[0].array[0]
    assert np.count_nonzero(found) == np.count_nonzero(mask)


def test_a_tuned_model_is_one_of_the_same_kind_and_better(cases, base, tmp_path):
    names = {1: "right lung", 2: "left lung"}
    list(prepare(CasesSource(cases, names), tmp_path / "tuned", base=base, settings=SETTINGS))
    finished = [update for update in run(tmp_path / "tuned", device="cpu") if isinstance(update, Finished)][-1]
    assert finished.verdict.new.after.mean_dice > finished.verdict.new.before.mean_dice + 0.2, finished.verdict.why
    tuned, before = load_model(tmp_path / "tuned"), load_model(base)
    assert (tuned.card.architecture, tuned.card.preprocessing) == (before.card.architecture, before.card.preprocessing)
    assert (tuned.card.classes, tuned.card.labels, tuned.card.licence) == (("right", "left"), (1, 2), before.card.licence)
    assert tuned.card.lineage[0].weights_sha256 == before.card.weights_sha256
    image, labels = cases[0].image, np.asarray(cases[0].labels.array)
    rights = [np.mean(segment(image, model, device="cpu").labels.array == labels) for model in (before, tuned)]
    assert rights[1] > rights[0]


def test_labels_that_mean_something_else_in_the_model_are_refused(cases, base, tmp_path):
    with pytest.raises(InputError, match="Label 1 is bone here but right in the model"):
        list(prepare(CasesSource(cases, {1: "bone", 2: "left"}), tmp_path / "no", base=base, settings=SETTINGS))


def test_no_view_is_mirrored_as_the_sides_have_names(cases, base, tmp_path):
    settings = replace(SETTINGS, augmentation=AugmentSettings())
    list(prepare(CasesSource(cases, {1: "right", 2: "left"}), tmp_path / "new", base=base, settings=settings))
    job = returned_by(make_job(read_setup(tmp_path / "new")))
    assert job.settings.augmentation == AugmentSettings().for_classes(("right", "left"))
