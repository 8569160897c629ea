"""Packages of BioImage.IO (format 0.5): their ONNX file, once it gives for their test tensor what they say."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.foreign.onnx_file import MOST_BYTES, Activation, OnnxFacts, make_card, openvino_for

#: Names that the description may have.
DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml")
MOST_DESCRIPTION_BYTES = 1 << 20
#: How near the outputs must come, relatively and absolutely; the format's own.
TOLERANCE = 1e-3

_MILLIMETRES = {"millimeter": 1.0, "centimeter": 10.0, "meter": 1000.0, "micrometer": 1e-3}
_AXES = ["batch", "channel", "space", "space"]

Array = npt.NDArray[np.float32]


def read_package(path: Path, name: str | None, facts: OnnxFacts) -> tuple[bytes, Card]:
    """Read a package, make the card of its network, and hold it against its test tensors.

    Parameters
    ----------
    path : Path
        The ZIP file.
    name : str, optional
        Of the model; by default made of its own.
    facts : OnnxFacts
        What the package does not say.

    Raises
    ------
    InputError
        When it has no ONNX file, asks for what cannot be done exactly, or its test fails.
    """
    try:
        with zipfile.ZipFile(path) as package:
            return _Package(path, package).read(name, facts)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read ({error}); get the package again.") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path} does not describe itself as BioImage.IO 0.5 has it ({type(error).__name__}: {error}).") from error


@dataclass
class _Steps:
    """What comes before the network, as one straight line of clipped numbers."""

    slope: float = 1.0
    start: float = 0.0
    window: tuple[float, float] | None = None

    def scale(self, gain: float, offset: float) -> None:
        self.slope, self.start = self.slope * gain, self.start * gain + offset

    def clip(self, low: float, high: float) -> None:
        if self.window is not None or self.slope <= 0:
            raise ValueError("it is clipped twice, or after it was turned upside down")
        self.window = ((low - self.start) / self.slope, (high - self.start) / self.slope)

    def __call__(self, image: Array) -> Array:
        if self.window is not None:
            image = np.clip(image, *self.window)
        return (image * np.float64(self.slope) + self.start).astype(np.float32)


class _Package:
    def __init__(self, path: Path, package: zipfile.ZipFile) -> None:
        self._path, self._package = path, package

    def read(self, name: str | None, facts: OnnxFacts) -> tuple[bytes, Card]:
        about = self._description()
        (given,), (result,) = about["inputs"], about["outputs"]
        for tensor in (given, result):
            kinds = [axis["type"] for axis in tensor["axes"]]
            if kinds != _AXES or [axis["id"] for axis in tensor["axes"][2:]] != ["y", "x"]:
                raise self._refusal(f"{tensor['id']} has the axes {', '.join(kinds)}, where slices (batch, channel, y, x) can be used")
        onnx = about["weights"].get("onnx")
        if onnx is None:
            raise self._refusal("it has no weights in ONNX; others are not read, as they may hold code")
        if onnx.get("external_data"):
            raise self._refusal("its weights lie in a second file")
        steps, activation = self._before(given), self._after(result)
        data = self._file(onnx)
        self._test(data, steps, activation, given, result)
        own = OnnxFacts(
            labels={number: str(label) for number, label in enumerate(_classes(result, activation), 1)},
            spacing_mm=_spacing(given["axes"][2:]),
            activation=activation,
            stride=_stride(given["axes"][2:]),
            licence=str(about.get("license") or ""),
            description=str(about.get("description") or ""),
        )
        window = facts.window_hu or steps.window
        if window is not None:
            own = OnnxFacts(**{**vars(own), "window_hu": window, "values": tuple(float(steps(np.array(end))) for end in window)})
        own_name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in str(about["name"]))
        return data, make_card(data, self._path, name or own_name.strip("-._")[:64], facts, own)

    def _description(self) -> dict[str, Any]:
        text = self._bytes(next(entry for entry in self._package.namelist() if entry in DESCRIPTIONS), MOST_DESCRIPTION_BYTES)
        try:
            import yaml
        except ImportError as error:
            raise self._refusal("the package pyyaml is not installed; install napari-lungseg[onnx]") from error
        try:
            about = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            raise self._refusal("its description is no YAML") from error
        if not isinstance(about, dict) or about.get("type") != "model" or not str(about.get("format_version")).startswith("0.5."):
            raise self._refusal("it is no model in the format 0.5; convert it with bioimageio.core")
        if len(about["inputs"]) != 1 or len(about["outputs"]) != 1:
            raise self._refusal("it has several inputs or outputs")
        return about

    def _before(self, given: dict[str, Any]) -> _Steps:
        steps = _Steps()
        for step in given.get("preprocessing") or []:
            kind, how = step["id"], step.get("kwargs") or {}
            if kind == "clip" and {"min", "max"} == how.keys():
                steps.clip(float(how["min"]), float(how["max"]))
            elif kind == "scale_linear" and how.get("axis") is None:
                steps.scale(_one(how.get("gain", 1.0)), _one(how.get("offset", 0.0)))
            elif kind == "fixed_zero_mean_unit_variance" and how.get("axis") is None:
                deviation = _one(how["std"])
                steps.scale(1.0 / deviation, -_one(how["mean"]) / deviation)
            elif not (kind == "ensure_dtype" and how.get("dtype") == "float32"):
                raise self._refusal(f"its step {kind} before the network cannot be done exactly here")
        return steps

    def _after(self, result: dict[str, Any]) -> Activation:
        activation: Activation = "none"
        for step in result.get("postprocessing") or []:
            kind, how = step["id"], step.get("kwargs") or {}
            if kind == "sigmoid" and activation == "none":
                activation = "sigmoid"
            elif kind == "softmax" and activation == "none" and how.get("axis", "channel") == "channel":
                activation = "softmax"
            elif not (kind == "ensure_dtype" and how.get("dtype") == "float32"):
                raise self._refusal(f"its step {kind} after the network cannot be done exactly here")
        return activation

    def _test(self, data: bytes, steps: _Steps, activation: Activation, given: dict[str, Any], result: dict[str, Any]) -> None:
        """Refuse a network that gives something else for the test tensor than its package says."""
        image, wanted = (self._tensor(tensor) for tensor in (given, result))
        with openvino_for(self._path) as network:
            found = _ACTIVATIONS[activation](network.run_bare(data, steps(image)))
        if found.shape != wanted.shape:
            raise self._refusal(f"its test gives {found.shape}, where its package says {wanted.shape}")
        if not np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            raise self._refusal(f"its test gives numbers that differ by up to {np.abs(found - wanted).max():.3g} from those in its package")

    def _tensor(self, tensor: dict[str, Any]) -> Array:
        test = tensor.get("test_tensor")
        if not test:
            raise self._refusal(f"{tensor['id']} has no test tensor, by which it could be accepted")
        array = np.load(io.BytesIO(self._file(test)), allow_pickle=False)
        if array.ndim != len(_AXES) or array.dtype.kind not in "fiu":
            raise self._refusal(f"the test tensor of {tensor['id']} has the shape {array.shape} and the type {array.dtype}")
        return np.asarray(array, np.float32)

    def _file(self, part: dict[str, Any]) -> bytes:
        source = str(part["source"])
        if source not in self._package.namelist():
            raise self._refusal(f"it has no {source} inside")
        data = self._bytes(source, MOST_BYTES)
        if part.get("sha256") and hashlib.sha256(data).hexdigest() != part["sha256"]:
            raise self._refusal(f"its {source} was changed (SHA-256 differs)")
        return data

    def _bytes(self, entry: str, most: int) -> bytes:
        with self._package.open(entry) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise self._refusal(f"its {entry} has more than {most} bytes")
        return data

    def _refusal(self, why: str) -> InputError:
        return InputError(f"{self._path} cannot be imported from BioImage.IO: {why}.")


_ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "none": lambda logits: logits,
    "sigmoid": expit,
    "softmax": lambda logits: np.asarray(softmax(logits, axis=1)),
}


def _one(value: Any) -> float:
    """A number, which may stand in a list alone."""
    (number,) = value if isinstance(value, list) else [value]
    return float(number)


def _classes(result: dict[str, Any], activation: Activation) -> list[str]:
    """Names of the channels, that of the background apart."""
    names = list(result["axes"][1]["channel_names"])
    return names[1:] if activation == "softmax" or str(names[0]).lower() == "background" else names


def _spacing(axes: list[dict[str, Any]]) -> float | None:
    """Pixel size in mm where both axes have the same, and their size is open."""
    sizes = {_MILLIMETRES.get(str(axis.get("unit")), math.nan) * float(axis.get("scale", 1.0)) for axis in axes}
    (size,) = sizes if len(sizes) == 1 else [math.nan]
    return size if math.isfinite(size) and all(isinstance(axis["size"], dict) for axis in axes) else None


def _stride(axes: list[dict[str, Any]]) -> int | None:
    """What sides must be multiples of: of sizes min + n * step those that divide by the step."""
    sizes = [axis["size"] for axis in axes]
    if not all(isinstance(size, dict) for size in sizes):
        return None
    steps = [int(size["step"]) for size in sizes]
    if any(int(size["min"]) % step for size, step in zip(sizes, steps, strict=True)):
        raise ValueError("sizes that are no multiples of their step")
    return math.lcm(*steps)
