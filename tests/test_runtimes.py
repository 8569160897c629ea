"""OpenVINO runs networks on the CPU as torch does, only faster; without it, or where it fails, torch does."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from phantom import chest, chest_model, two_class_model
from torch.nn import functional as F

from napari_lungseg.device import TorchRuntime
from napari_lungseg.model import Model, load_model
from napari_lungseg.openvino_graph import make_graph
from napari_lungseg.openvino_quiet import openvino
from napari_lungseg.openvino_runtime import OpenVinoRuntime
from napari_lungseg.predicted import Notice
from napari_lungseg.resample import resize
from napari_lungseg.runtimes import run
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
from napari_lungseg.unet import UNet, UNetConfig, probabilities
from napari_lungseg.weights import weight_shapes

CONFIGS = [
    {"norm": "batch"},
    {"norm": "group", "patch": 2, "base_width": 16},
    {"norm": "instance", "context_slices": 1},
    {"classes": 2, "patch": 3, "norm": "group"},
    {"classes": 5, "convention": "lungmask"},
]


def random_network(**config) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(UNetConfig(**{"base_width": 8, "depth": 2, **config}))
        network(torch.randn(4, network.config.in_channels, 24, 24))  # moves the statistics of BatchNorm
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


class OtherNetwork(torch.nn.Module):
    """A network that OpenVINO is not asked to run."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_graph_computes_what_the_network_does(config):
    network = random_network(**config)
    image = np.random.default_rng(0).normal(size=(network.config.in_channels, 24, 48)).astype(np.float32)
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    runtime = OpenVinoRuntime(make_graph(weights, network.config, 24, 48), "float32")
    (found,) = runtime.run(iter([image]))
    with torch.inference_mode():
        expected = probabilities(network(torch.from_numpy(image)[None]))[0].numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("config", CONFIGS)
def test_the_shapes_of_weights_are_told_without_torch(config):
    network = random_network(**config)
    assert weight_shapes(network.config) == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("size", [(30, 50), (17, 20), (71, 33), (1, 1), (29, 30)])
def test_slices_are_resized_as_torch_does_it(size):
    plane = np.random.default_rng(0).normal(size=(29, 40)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(plane)[None, None], size=size, mode="bilinear", antialias=True, align_corners=False)
    assert np.abs(resize(plane, size) - expected[0, 0].numpy()).max() < 1e-5


@pytest.mark.parametrize("name", ["lung-ct", "lung-xray"])
def test_both_runtimes_make_the_same_mask_of_the_sample(name):
    volume = sample_ct().crop((slice(8, 12), slice(None), slice(None)))
    model = load_model(name)
    ours = segment(volume, Model(model.network, model.card), device="cpu")
    theirs = segment(volume, Model(OtherNetwork(model.network), model.card), device="cpu")
    assert (ours.runtime, theirs.runtime) == (f"OpenVINO {openvino_version()} float32", f"torch {torch.__version__} float32")
    assert np.array_equal(ours.labels.array, theirs.labels.array)
    assert np.abs(ours.probability.array.astype(int) - theirs.probability.array).max() <= 1


@pytest.mark.parametrize("model", [chest_model, two_class_model])
def test_many_slices_in_flight_come_in_order(model):
    volume, _ = chest(slices=15)
    for step in (1, -1):
        ours = segment(volume.with_array(volume.array[::step]), model(), postprocess=False)
        theirs = segment(volume, Model(OtherNetwork(model().network), model().card), postprocess=False)
        assert np.array_equal(ours.labels.array[::step], theirs.labels.array)
        assert ours.labels.array.any()


def openvino_version() -> str:
    return openvino.get_version().split("-")[0]


def image_of(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (1, rows, 24)).astype(np.float32)


def test_where_openvino_fails_torch_goes_on_with_the_same_slice():
    model = chest_model()
    images = [image_of(rows, seed) for seed, rows in enumerate((24, 24, 48, 24, 24))]  # the graph is made for one size
    results = list(run(model, "cpu", iter(images)))
    (notice,) = (result for result in results if isinstance(result, Notice))
    assert "OpenVINO failed" in notice.text
    assert "torch" in notice.text
    found = [result.probabilities for result in results if not isinstance(result, Notice)]
    expected = list(TorchRuntime(model.network, model.card.architecture, "cpu").run(iter(images)))
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert all(np.abs(one - other).max() < 1e-4 for one, other in zip(found[2:], expected[2:]))
    assert results[-1].runtime.startswith("torch")


def test_where_openvino_cannot_load_a_network_torch_runs_it(monkeypatch):
    monkeypatch.setattr("napari_lungseg.openvino_runtime.MOST_STREAMS", -7)  # which OpenVINO refuses
    volume, lungs = chest(slices=3)
    result = segment(volume, chest_model(), device="cpu", postprocess=False)
    assert np.array_equal(result.labels.array > 0, lungs)
    assert result.runtime.startswith("torch")
    assert "OpenVINO cannot load the network" in result.notices[0]


def test_errors_of_what_reads_the_slices_are_not_taken_for_openvinos():
    def images():
        yield image_of(24)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(run(chest_model(), "cpu", images()))


def test_openvino_gets_as_many_threads_as_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert OpenVinoRuntime(make_graph(chest_model().weights, chest_model().card.architecture, 8, 8), "float32").threads == 1


def run_python(code: str) -> dict:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SEGMENT = """
import json, sys
from napari_lungseg.sample import sample_ct
from napari_lungseg.segmentation import segment
result = segment(sample_ct().crop((slice(10, 12), slice(None), slice(None))), device="cpu")
names = ("torch", "openvino", "openvino_telemetry")
print(json.dumps({"runtime": result.runtime, "notices": result.notices, "loaded": [name for name in names if sys.modules.get(name)],
                  "voxels": int((result.labels.array > 0).sum())}))
"""


def test_segmenting_needs_either_openvino_or_torch_and_never_telemetry():
    ours = run_python(SEGMENT)
    theirs = run_python("import sys; sys.modules['openvino'] = None  # as if it were not installed\n" + SEGMENT)
    assert ours["loaded"] == ["openvino"]
    assert theirs["loaded"] == ["torch"]
    assert theirs["runtime"] == f"torch {torch.__version__} float32 (OpenVINO is not installed)"
    assert ours["notices"] == theirs["notices"] == []
    assert ours["voxels"] == pytest.approx(theirs["voxels"], rel=2e-3)
