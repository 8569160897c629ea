"""Prediction lands where the lungs are, whatever way the voxels are stored, and never falls over."""

import gc
import itertools

import dask.array
import numpy as np
import pytest
import torch
import zarr
from phantom import DENSE, chest, chest_model, dice, two_class_model
from torch.nn import functional as F

from napari_lungseg.card import Card
from napari_lungseg.device import Runner, batch_size, choose_device
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model
from napari_lungseg.predict import Notice, PredictSettings, predict
from napari_lungseg.preprocess import Preprocessing, normalise
from napari_lungseg.runtimes import list_devices
from napari_lungseg.unet import UNet, UNetConfig
from napari_lungseg.volume import Volume, scaling


def run(volume: Volume, model: Model | None = None, **settings) -> tuple[np.ndarray, list[str]]:
    """Percent of the whole volume (255 where nothing was predicted), and the notices."""
    percent = np.full(volume.shape, 255, dtype=np.uint8)
    notices = []
    for step in predict(volume, model or chest_model(), PredictSettings(**settings)):
        if isinstance(step, Notice):
            notices.append(step.text)
        elif volume.ndim == 2:
            percent[:] = step.probability
        else:
            percent[(slice(None),) * step.axis + (step.index,)] = step.probability
    return percent, notices


def random_model(seed: int = 0, spacing_mm: float = 4.0, **config) -> Model:
    shape = UNetConfig(**{"base_width": 8, "depth": 2, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(shape).eval()
    classes, labels = tuple(str(index) for index in range(shape.classes)), tuple(range(1, shape.classes + 1))
    return Model(network, Card("random", "", shape, Preprocessing(spacing_mm, (-1000.0, 400.0)), classes, labels, sides=False))


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same patient with the voxels stored along other axes."""
    array = volume.array.transpose(order)
    columns = [volume.affine[:, axis] for axis in order]
    origin = volume.affine[:, 3].copy()
    for axis, flip in enumerate(flips):
        if flip:
            origin += columns[axis] * (array.shape[axis] - 1)
            columns[axis] = -columns[axis]
            array = np.flip(array, axis)
    return Volume(array, np.stack([*columns, origin], axis=1), volume.unit)


ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))


def test_the_lungs_are_found_exactly():
    volume, lungs = chest()
    percent, notices = run(volume)
    assert np.array_equal(percent >= 50, lungs)
    assert percent.max() <= 100
    assert notices == []


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_the_result_lies_on_the_lungs_in_every_storage_order(order, flips):
    volume, lungs = chest(slices=4)
    turned = stored(volume, order, flips)
    truth = stored(volume.with_array(lungs), order, flips)
    percent, _ = run(turned)
    assert np.array_equal(percent >= 50, truth.array)


def test_oblique_volumes_are_cut_along_the_nearest_axis():
    volume, lungs = chest(slices=4)
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    percent, _ = run(Volume(volume.array, turn @ volume.affine, "HU"))
    assert np.array_equal(percent >= 50, lungs)


@pytest.mark.parametrize("spacing_mm", [1.5, 2.7, 6.5])
def test_images_are_resampled_to_the_models_pixels_and_back(spacing_mm: float):
    volume, lungs = chest(slices=3)
    model = chest_model()
    card = Card("other", "", model.card.architecture, Preprocessing(spacing_mm, (-1000.0, 400.0)))
    percent, _ = run(volume, Model(model.network, card))
    assert dice(percent >= 50, lungs) > (0.95 if spacing_mm < 4 else 0.85)


class Watched(torch.nn.Module):
    """A network that notes the shapes it sees."""

    def __init__(self, network: torch.nn.Module, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.network, self.note = network, shapes.append

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.note(tuple(x.shape))
        return self.network(x)


def test_pixels_that_are_not_square_are_made_square():
    volume, lungs = chest(slices=3)
    wide = Volume(volume.array[:, :, ::2], volume.affine @ np.diag([1.0, 1.0, 2.0, 1.0]), "HU")
    shapes = []
    model = chest_model()
    percent, _ = run(wide, Model(Watched(model.network, shapes), model.card))
    square = []
    run(volume, Model(Watched(model.network, square), model.card))
    assert abs(shapes[0][-1] - square[0][-1]) <= 8  # the margin around the body is whole pixels wide
    assert dice(percent >= 50, lungs[:, :, ::2]) > 0.93


def test_sizes_are_assumed_where_the_image_has_none():
    volume, lungs = chest(slices=3)
    bare = Volume(volume.array, scaling((1.0, 1.0, 1.0)), "HU", spacing_known=False)
    percent, notices = run(bare)
    assert dice(percent >= 50, lungs) > 0.95
    assert notices == []


def test_sizes_that_no_chest_has_are_not_believed():
    volume, lungs = chest(slices=3)
    for spacing in (0.004, 400.0):
        percent, notices = run(Volume(volume.array, scaling((1.0, spacing, spacing)), "HU"))
        assert dice(percent >= 50, lungs) > 0.95
        assert "no chest" in notices[0]


def test_windowed_8_bit_images_work():
    volume, lungs = chest(slices=3)
    grey = np.clip((volume.array + 1000) / 1400 * 255, 0, 255).round().astype(np.uint8)
    percent, _ = run(Volume(grey, volume.affine, "arbitrary"))
    assert dice(percent >= 50, lungs) > 0.97


def test_a_two_dimensional_image_gives_what_the_slice_gives():
    volume, lungs = chest(slices=3)
    percent, _ = run(Volume(volume.array[1], volume.affine, "HU"))
    assert np.array_equal(percent >= 50, lungs[1])


def test_the_first_slice_comes_first_and_the_others_outward():
    volume, _ = chest(slices=7)
    steps = list(predict(volume, chest_model(), PredictSettings(first=2)))
    assert [step.index for step in steps] == [2, 3, 1, 4, 0, 5, 6]
    assert [(step.done, step.total) for step in steps] == [(n, 7) for n in range(1, 8)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"start": 2, "stop": 5}, [2, 3, 4]),
        ({"start": 2, "stop": 5, "first": 3}, [3, 4, 2]),
        ({"start": 2, "stop": 5, "first": 40}, [4, 3, 2]),
        ({"start": 6}, [6]),
        ({"stop": 1}, [0]),
    ],
)
def test_only_the_range_is_predicted(settings, expected):
    volume, _ = chest(slices=7)
    assert [step.index for step in predict(volume, chest_model(), PredictSettings(**settings))] == expected


@pytest.mark.parametrize(
    "settings", [{"start": 5, "stop": 5}, {"start": -1}, {"stop": 8}, {"start": 7}, {"axis": 3}, {"axis": -1}, {"device": "tpu"}]
)
def test_settings_that_do_not_fit_are_refused_at_once(settings):
    volume, _ = chest(slices=7)
    with pytest.raises(InputError):
        predict(volume, chest_model(), PredictSettings(**settings))


def test_an_empty_image_is_refused():
    with pytest.raises(InputError, match="empty"):
        predict(Volume(np.zeros((0, 5, 5)), np.eye(4)), chest_model())


def test_a_chosen_axis_overrides_the_geometry():
    volume, lungs = chest(slices=4)
    other = Volume(volume.array.transpose(1, 0, 2), scaling((4.0, 6.0, 4.0)), "HU")  # a geometry that is wrong
    percent, _ = run(other, axis=1)
    assert np.array_equal(percent >= 50, lungs.transpose(1, 0, 2))


def test_a_single_slice_is_taken_as_it_is_and_a_coronal_one_mentioned():
    volume, lungs = chest(slices=3)
    coronal = np.zeros((4, 4))
    coronal[1, 0] = coronal[3, 3] = 1.0
    coronal[2, 1] = coronal[0, 2] = 4.0
    for array, truth in ((volume.array[1:2], lungs[1:2]), (volume.array[1], lungs[1])):
        percent, notices = run(Volume(array, coronal, "HU"))
        assert np.array_equal(percent >= 50, truth)
        assert "not an axial one" in notices[0]


class OnlySlices:
    """Voxels that can be had one slice at a time, as from a slow disk."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype
        self.read: list[int] = []

    def __getitem__(self, key) -> np.ndarray:
        axes = [part for part in key if isinstance(part, int | np.integer)]
        assert len(axes) == 1, "more than one slice was asked for"
        self.read.append(int(axes[0]))
        return self._array[key]

    def __array__(self, *args, **kwargs):
        raise AssertionError("the whole volume was read")


def test_lazy_arrays_are_read_slice_by_slice():
    volume, lungs = chest(slices=40)
    turned = stored(volume, (1, 2, 0), (False, True, True))
    array = OnlySlices(turned.array)
    steps = predict(Volume(array, turned.affine, "HU"), chest_model(), PredictSettings(first=30))
    result = next(steps)
    assert result.index == 30
    assert np.array_equal(result.probability >= 50, stored(volume.with_array(lungs), (1, 2, 0), (False, True, True)).array[:, :, 30])
    next(steps)
    next(steps)
    # In order, and only a few ahead of what was given.
    order = [30, 31, 29, 32, 28, 33, 27, 34, 26]
    assert any(array.read[-count:] == order[:count] for count in range(3, len(order)))


def test_dask_and_zarr_arrays_work():
    volume, lungs = chest(slices=4)
    turned, truth = stored(volume, (2, 0, 1), (True, False, True)), stored(volume.with_array(lungs), (2, 0, 1), (True, False, True))
    for array in (dask.array.from_array(turned.array, chunks=(32, 2, 36)), zarr.array(turned.array, chunks=(32, 4, 36))):
        percent, _ = run(Volume(array, turned.affine, "HU"))
        assert np.array_equal(percent >= 50, truth.array)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1), (1, 5, 3), (2, 1, 7), (3, 33, 17), (2, 2, 2), (70, 3)])
@pytest.mark.parametrize(
    "config", [{"norm": "batch"}, {"norm": "group", "patch": 2}, {"norm": "instance", "context_slices": 1}, {"classes": 2, "patch": 3}]
)
def test_images_of_any_size_work(shape, config):
    values = np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)
    percent, _ = run(Volume(values, np.eye(4), "HU"), random_model(**config))
    assert percent.max() <= 100


@pytest.mark.parametrize("unit", ["HU", "arbitrary"])
@pytest.mark.parametrize("value", [0.0, -1000.0, np.nan, np.inf, 1e30])
def test_constant_and_undefined_images_give_no_lungs(value: float, unit):
    percent, _ = run(Volume(np.full((3, 40, 40), value, dtype=np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), unit))
    assert not (percent >= 50).any()


def test_nan_stays_where_it_is():
    volume, lungs = chest(slices=3)
    array = volume.array.astype(np.float32)
    array[1] = np.nan
    array[:, :10] = np.nan
    array[0, 30, 30] = np.inf
    percent, _ = run(Volume(array, volume.affine, "HU"))
    expected = lungs.copy()
    expected[1] = False
    expected[:, :10] = False
    expected[0, 30, 30] = False
    assert np.array_equal(percent >= 50, expected)


@pytest.mark.parametrize("head_first", [False, True])
def test_context_slices_are_the_neighbours_feet_first_and_the_edge_repeats(head_first: bool):
    values = np.random.default_rng(0).integers(-300, 400, (4, 32, 32)).astype(np.int16)  # tissue everywhere: the box is the plane
    volume = Volume(values, scaling((4.0, 4.0, 4.0)), "HU")
    model = random_model(context_slices=1)
    images = torch.from_numpy(normalise(values, -1000.0, 400.0))
    with torch.inference_mode():
        stacks = torch.stack([images[[max(i - 1, 0), i, min(i + 1, 3)]] for i in range(4)])
        expected = torch.sigmoid(model.network(stacks))[:, 0].numpy() * 100
    if head_first:
        volume, expected = stored(volume, (0, 1, 2), (True, False, False)), expected[::-1]
    percent, _ = run(volume, model, first=2)
    assert np.abs(percent - expected).max() <= 0.51


def test_several_classes_make_one_foreground():
    values = np.random.default_rng(0).integers(-300, 400, (2, 32, 32)).astype(np.int16)
    model = random_model(classes=2)
    with torch.inference_mode():
        logits = model.network(torch.from_numpy(normalise(values, -1000.0, 400.0))[:, None])
        expected = 100 * (1 - torch.softmax(logits, dim=1)[:, 0]).numpy()
    percent, _ = run(Volume(values, scaling((4.0, 4.0, 4.0)), "HU"), model)
    assert np.abs(percent - expected).max() <= 0.51


def classes_of(volume: Volume, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Percent and most likely class of a volume whose axial slices lie along any axis."""
    percent, classes = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, np.uint8)
    for step in predict(volume, model):
        where = (slice(None),) * step.axis + (step.index,)
        percent[where], classes[where] = step.probability, step.classes
    return percent, classes


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), (False,) * 3), ((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))]
)
def test_of_several_classes_the_most_likely_one_is_told(order, flips):
    volume, lungs = chest(slices=4)
    percent, classes = classes_of(stored(volume, order, flips), two_class_model())
    assert classes.dtype == np.uint8
    found = stored(volume.with_array(np.where(volume.array > DENSE, 2, lungs)), order, flips).array
    assert np.array_equal(np.where(percent >= 50, classes + 1, 0), found)


def test_a_model_of_one_class_tells_no_class():
    volume, _ = chest(slices=2)
    assert all(step.classes is None for step in predict(volume, chest_model()))


def test_the_class_is_told_after_the_probabilities_are_resized():
    values = np.random.default_rng(0).integers(-300, 400, (1, 32, 32)).astype(np.int16)  # tissue everywhere: the box is the plane
    model = random_model(classes=3, spacing_mm=8.0)
    with torch.inference_mode():
        image = torch.from_numpy(normalise(values, -1000.0, 400.0))[None]
        small = F.interpolate(image, size=(16, 16), mode="bilinear", antialias=True, align_corners=False)
        likely = torch.softmax(model.network(small), dim=1)[:, 1:]
        expected = F.interpolate(likely, size=(32, 32), mode="bilinear", align_corners=False).argmax(dim=1).numpy()
        stairs = F.interpolate(likely, size=(32, 32), mode="nearest").argmax(dim=1).numpy()
    _, classes = classes_of(Volume(values, scaling((4.0, 4.0, 4.0)), "HU"), model)
    assert (expected != stairs).mean() > 0.02
    assert np.array_equal(classes, expected)


def test_neither_the_model_nor_the_state_of_torch_is_changed():
    volume, _ = chest(slices=3)
    model = random_model(norm="batch")
    model.network.train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    threads = torch.get_num_threads()
    steps = predict(volume, model)
    next(steps)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    steps.close()
    assert model.network.training
    after = model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(tensor.is_contiguous() for tensor in after.values())
    model.network(torch.zeros(2, 1, 8, 8)).sum().backward()


def test_prediction_can_be_stopped_at_any_slice():
    volume, lungs = chest(slices=5)
    for wanted in range(5):
        steps = predict(volume, chest_model())
        for _ in range(wanted):
            result = next(steps)
            assert np.array_equal(result.probability >= 50, lungs[result.index])
        steps.close()
        assert next(steps, None) is None


class Hungry(torch.nn.Module):
    """A network that runs out of memory above a batch size, or anywhere but on the CPU."""

    def __init__(self, network: torch.nn.Module, limit: int = 10**9, message: str = "") -> None:
        super().__init__()
        self.network, self.limit, self.message = network, limit, message

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" or len(x) > self.limit:
            if self.message:
                raise RuntimeError(self.message)
            raise torch.cuda.OutOfMemoryError("out of memory")
        return self.network(x)


def test_out_of_memory_halves_the_batch_and_loses_nothing():
    model = random_model()
    inputs = torch.randn(11, 1, 16, 16)
    plain = list(Runner(model.network, torch.device("cpu")).run(inputs))

    results = list(Runner(Hungry(model.network, limit=2), torch.device("cpu"), batch=8).run(inputs))
    notices = [step.text for step in results if isinstance(step, Notice)]
    maps = [step for step in results if not isinstance(step, Notice)]
    assert notices == [
        "The memory ran out: going on with 4 slices at a time.",
        "The memory ran out: going on with 2 slices at a time.",
    ]
    assert len(maps) == 11
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(maps, plain))


@pytest.mark.parametrize(("message", "said"), [("", "memory ran out"), ("no kernel image is available", "no kernel image is available")])
def test_a_gpu_that_fails_hands_over_to_the_cpu(message: str, said: str):
    model = random_model()
    inputs = torch.randn(3, 1, 16, 16)
    plain = list(Runner(model.network, torch.device("cpu")).run(inputs))
    runner = Runner(Hungry(model.network, message=message), torch.device("meta"), batch=2)
    results = list(runner.run(inputs))
    notices = [step for step in results if isinstance(step, Notice)]
    maps = [step for step in results if not isinstance(step, Notice)]
    assert said in notices[-1].text
    assert notices[-1].device == "cpu"
    assert len(maps) == 3
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(maps, plain))


def test_too_little_memory_on_the_cpu_is_said_clearly():
    volume, _ = chest(slices=2)
    model = chest_model()
    with pytest.raises(InputError, match="memory does not suffice"):
        run(volume, Model(Hungry(model.network, limit=0), model.card))


def test_other_errors_of_a_network_are_not_hidden():
    volume, _ = chest(slices=2)
    model = chest_model()
    with pytest.raises(RuntimeError, match="a bug"):
        run(volume, Model(Hungry(model.network, limit=0, message="a bug"), model.card))


def test_devices_that_are_not_there_are_refused():
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match=r"cuda:99|NVIDIA"):
        choose_device("cuda:99")
    for name in ("gpu", "cuda:", "cuda:-1", ""):
        with pytest.raises(InputError, match="not a device"):
            choose_device(name)
    for name in list_devices():
        choose_device(name)


def test_batches_grow_with_memory_and_shrink_with_size():
    config = UNetConfig(base_width=16, patch=2)
    assert batch_size(0, config, 512, 512) == 1
    sizes = [batch_size(gigabytes * 2**30, config, 512, 512) for gigabytes in (1, 2, 8, 80)]
    assert sizes == sorted(sizes)
    assert batch_size(2**30, config, 512, 512) >= batch_size(2**30, config, 1024, 1024)
    assert batch_size(2**30, config, 512, 512) >= batch_size(2**30, UNetConfig(), 512, 512)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_gives_what_the_cpu_gives_and_frees_its_memory():
    volume, _ = chest(slices=20)
    for model in (chest_model(), random_model(patch=2, norm="group")):
        on_cpu, _ = run(volume, model, device="cpu")
        gc.collect()
        before = torch.cuda.memory_reserved()
        on_gpu, notices = run(volume, model, device="cuda")
        assert notices == []
        assert np.abs(on_gpu.astype(int) - on_cpu).max() <= 2
        assert torch.cuda.memory_reserved() <= before
