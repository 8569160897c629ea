"""Which device and runtime a network runs on: OpenVINO on CPUs where it is installed, else torch; and torch where OpenVINO fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import OnnxConfig
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model
from napari_lungseg.places import check_device_name, may_have_gpu
from napari_lungseg.predicted import Notice
from napari_lungseg.translation import say
from napari_lungseg.weights import Weights

Image = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probabilities:
    """What a network gives for one image.

    Attributes
    ----------
    probabilities : (classes, H, W) array of float32
        Overwritten after the next result was asked for.
    runtime : str
        What computed them, with version and precision.
    """

    probabilities: Image
    runtime: str


def find_device(name: str) -> str:
    """The device that a name stands for, as :func:`napari_lungseg.device.choose_device` finds it (InputError where it is not there)."""
    check_device_name(name)
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    from napari_lungseg.device import choose_device

    return str(choose_device(name))


def list_devices() -> list[str]:
    """Names of the devices that can be chosen on this computer, ``auto`` first."""
    if not may_have_gpu():
        return ["auto", "cpu"]
    from napari_lungseg.device import gpu_names

    return ["auto", *gpu_names(), "cpu"]


def load_runtime(device: str = "auto") -> None:
    """Load what :func:`run` will need on a device, as :func:`find_device` takes it, which takes a while."""
    if find_device(device) != "cpu" or not has_openvino():
        import napari_lungseg.device  # noqa: F401
    else:
        from napari_lungseg.openvino_runtime import adds_int8_exactly

        adds_int8_exactly()


def has_openvino() -> bool:
    """Whether OpenVINO can be loaded."""
    try:
        import napari_lungseg.openvino_quiet  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def run(model: Model, device: str, images: Iterator[Image]) -> Generator[Probabilities | Notice]:
    """Run a model over images of one size.

    Parameters
    ----------
    model : Model
        It is not changed.
    device : str
        ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
    images : iterator of (C, H, W) array
        As the network takes them; only a few are taken ahead.

    Returns
    -------
    generator of Probabilities and Notice
        One result for each image, in the same order, and notices in between. Can be closed at any time.

    Raises
    ------
    InputError
        When the memory does not suffice, or a network in an ONNX file cannot be run.
    """
    if model.onnx is not None:
        yield from _run_onnx(model, model.onnx, device, images)
        return
    missing = ""
    if device == "cpu" and (weights := model.weights) is not None:
        if has_openvino():
            images = yield from _run_openvino(model, weights, images)
        else:
            missing = " (OpenVINO is not installed)"
    first = next(images, None)
    if first is None:
        return
    from napari_lungseg.device import TorchRuntime

    runtime = TorchRuntime(model.network, model.card.unet, device)
    for result in runtime.run(chain([first], images)):
        yield result if isinstance(result, Notice) else Probabilities(result, runtime.name + missing)


def _run_openvino(model: Model, weights: Weights, images: Iterator[Image]) -> Generator[Probabilities | Notice, None, Iterator[Image]]:
    """Run images with OpenVINO; returns those that are left for torch."""
    from napari_lungseg.openvino_graph import make_graph
    from napari_lungseg.openvino_runtime import OpenVinoError, OpenVinoRuntime, adds_int8_exactly

    first = next(images, None)
    if first is None:
        return images
    images = chain([first], images)
    try:
        int8 = model.read_int8() if adds_int8_exactly() else None
    except InputError as error:
        yield Notice(say("{problem}; the network runs in float32 instead of int8, which takes longer.", problem=str(error).rstrip(".")))
        int8 = None
    for network, precision, instead in ((int8, "int8", "float32"), (weights, "float32", "torch")):
        if network is None:
            continue
        try:
            runtime = OpenVinoRuntime(make_graph(network, model.card.unet, *first.shape[1:]), precision)
            break
        except (OpenVinoError, InputError, RuntimeError) as error:  # the latter two from building the graph
            yield _failure(say("OpenVINO cannot load the network in {precision}", precision=precision), error, instead)
    else:
        return images
    try:
        with closing(runtime.run(images)) as results:
            for result in results:
                yield Probabilities(result, runtime.name)
    except OpenVinoError as error:
        yield _failure(say("OpenVINO failed"), error, "torch")
        return chain(error.unfinished, images)
    return images


def _run_onnx(model: Model, data: bytes, device: str, images: Iterator[Image]) -> Generator[Probabilities | Notice]:
    """Run images with OpenVINO by a network in an ONNX file, which nothing else can run here."""
    name = model.card.name
    if not has_openvino():
        raise InputError(say("{model} is an ONNX network, which OpenVINO runs; install napari-lungseg[openvino].", model=name))
    from napari_lungseg.onnx_network import probability_graph
    from napari_lungseg.openvino_runtime import OpenVinoError, OpenVinoRuntime

    if device != "cpu":
        yield Notice(say("{model} is an ONNX network, which runs on the CPU.", model=name), device="cpu")
    first = next(images, None)
    if first is None:
        return
    config = model.card.architecture
    assert isinstance(config, OnnxConfig)
    try:
        runtime = OpenVinoRuntime(probability_graph(data, config, *first.shape[1:]), "ONNX")
        for result in runtime.run(chain([first], images)):
            yield Probabilities(result, runtime.name)
    except OpenVinoError as error:
        raise InputError(say("The ONNX network of {model} cannot be run: {reason}.", model=name, reason=_reason(error))) from error


def _failure(what: str, error: Exception, instead: str) -> Notice:
    what = say("{what} ({reason}): {instead} is used instead, which takes longer.", what=what, reason=_reason(error), instead=instead)
    return Notice(what)


def _reason(error: Exception) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1]
