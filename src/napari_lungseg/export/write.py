"""Write a model as a file of another program, once it was shown to find what the model finds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder, new_path, shortened, whole_folder, write_whole
from napari_lungseg.int8 import Int8Network
from napari_lungseg.model import Model, load_model
from napari_lungseg.weights import Weights

if TYPE_CHECKING:
    from napari_lungseg.export.check import Agreement

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
Format = Literal["onnx", "openvino", "torchscript", "bioimageio", "triton"]
Precision = Literal["float32", "float16", "int8"]

#: Format by the ending of a file.
ENDINGS: dict[str, Format] = {".onnx": "onnx", ".xml": "openvino", ".pt": "torchscript", ".ts": "torchscript", ".zip": "bioimageio"}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    files : tuple of Path
        The file that was asked for first.
    bytes : int
        Of all of them.
    agreement : Agreement
        With the model in torch.
    """

    files: tuple[Path, ...]
    bytes: int
    agreement: Agreement


def export_model(
    model: str | os.PathLike[str] | Model,
    path: str | os.PathLike[str],
    format: Format | None = None,
    precision: Precision = "float32",
    authors: Sequence[str] = (),
) -> Exported:
    """Write a model for other programs, with all that leads from HU to probabilities inside.

    Parameters
    ----------
    model : str, path or Model
        Name of a model, its folder, or one that is loaded already.
    path : path
        The file; of OpenVINO the ``.xml``, beside which a ``.bin`` is written; of Triton a model repository, in which a folder is made.
    format : {"onnx", "openvino", "torchscript", "bioimageio", "triton"}, optional
        By the ending of ``path`` where it is not given.
    precision : {"float32", "float16", "int8"}
        ``float16`` halves the file and computes in float32; ``int8`` is the network in int8 that the model has.
    authors : sequence of str
        Names for a BioImage.IO package; those of the bundled models are known.

    Raises
    ------
    InputError
        When the model cannot be written so, a package is missing, or what would be written does not find what the model finds.
    """
    path = new_path(path)
    form = format or ENDINGS.get(path.suffix.lower())
    if form is None:
        raise InputError(f"{shortened(path)} does not tell the format; give --format {', '.join(get_args(Format))}.")
    if form == "openvino" and path.suffix != ".xml":
        raise InputError(f"{shortened(path)} cannot be a graph of OpenVINO, which ends in .xml and has a .bin beside it; name it so.")
    model = model if isinstance(model, Model) else load_model(model)
    _ = model.card.unet  # others cannot be exported
    if form == "triton" and (path / model.card.name).exists():
        raise InputError(f"{shortened(path / model.card.name)} is there already; remove it first, or choose another repository.")
    weights = _weights(model, precision, form)
    with TemporaryDirectory(prefix="napari-lungseg-") as folder, _needed(form):
        run = _MAKERS[form](model, weights, precision, Path(folder), authors)
        from napari_lungseg.export.check import check

        try:
            agreement = check(model, run, precision)
        except InputError as error:
            raise InputError(f"{model.card.name} cannot be exported as {form} in {precision}: {error}") from error
        return _placed(Path(folder), path, form, model.card.name, agreement)


def _weights(model: Model, precision: Precision, form: Format) -> Weights | Int8Network:
    name = model.card.name
    if form == "torchscript" and precision != "float32":
        raise InputError(f"TorchScript is written in float32 only, not in {precision}; choose another format or precision.")
    weights = model.weights
    if weights is None:
        raise InputError(f"The network of {name} is not one of this package's, which alone can be exported.")
    if precision != "int8":
        return weights
    int8 = model.read_int8()
    if int8 is None:
        raise InputError(
            f"{name} has no network in int8; train it with OpenVINO and NNCF installed (napari-lungseg[int8]), or choose float16."
        )
    return int8


def _onnx(model: Model, weights: Weights | Int8Network, precision: Precision, folder: Path, authors: Sequence[str]) -> Run:
    return _session(_write_onnx(model, weights, precision, folder))


def _openvino(model: Model, weights: Weights | Int8Network, precision: Precision, folder: Path, authors: Sequence[str]) -> Run:
    from napari_lungseg.export.openvino_file import openvino_graph, read_compiled, save_openvino

    save_openvino(openvino_graph(weights, model.card, precision), folder / "model.xml", precision)
    compiled = read_compiled(folder / "model.xml")
    return lambda images: np.asarray(compiled(images)[0])


def _torchscript(model: Model, weights: Weights | Int8Network, precision: Precision, folder: Path, authors: Sequence[str]) -> Run:
    from napari_lungseg.export.torchscript import read_program, save_torchscript

    save_torchscript(model, folder / "model.pt")
    return read_program(folder / "model.pt")


def _bioimageio(model: Model, weights: Weights | Int8Network, precision: Precision, folder: Path, authors: Sequence[str]) -> Run:
    file = _write_onnx(model, weights, precision, folder)
    run = _session(file)
    # With torch, so once no package is missing.
    from napari_lungseg.export.bioimageio import save_package
    from napari_lungseg.export.check import sample_images

    images = sample_images(model, 1)
    save_package(file, model.card, precision, images, run(images), authors, folder / "model.zip")
    file.unlink()
    return run


def _triton(model: Model, weights: Weights | Int8Network, precision: Precision, folder: Path, authors: Sequence[str]) -> Run:
    from napari_lungseg.export.triton import triton_config

    version = folder / "1"
    version.mkdir()
    (folder / "config.pbtxt").write_text(triton_config(model.card), encoding="utf-8")
    return _session(_write_onnx(model, weights, precision, version))


_MAKERS: dict[Format, Callable[[Model, Weights | Int8Network, Precision, Path, Sequence[str]], Run]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "torchscript": _torchscript,
    "bioimageio": _bioimageio,
    "triton": _triton,
}


def _write_onnx(model: Model, weights: Weights | Int8Network, precision: Precision, folder: Path) -> Path:
    from napari_lungseg.export.onnx_graph import onnx_graph

    file = folder / "model.onnx"
    file.write_bytes(onnx_graph(weights, model.card, precision).SerializeToString())
    return file


def _session(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


@contextmanager
def _needed(form: Format) -> Iterator[None]:
    """Say in one sentence which package is missing."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{form} cannot be written: the package {(error.name or str(error)).partition('.')[0]} is not installed; "
            "install napari-lungseg[export]."
        ) from error


def _placed(folder: Path, path: Path, form: Format, name: str, agreement: Agreement) -> Exported:
    """Put what was made and found right where it was asked for."""
    if form == "triton":
        make_folder(path)
        target = path / name
        with whole_folder(target) as temporary:
            shutil.copytree(folder, temporary, dirs_exist_ok=True)
        files = [target, *sorted(file for file in target.rglob("*") if file.is_file())]
    else:
        made = sorted(file for file in folder.iterdir() if file.is_file())
        # The .bin before the .xml, which is of no use without it.
        for file in made:
            write_whole(path.with_suffix(file.suffix) if len(made) > 1 else path, file.read_bytes())
        files = [path, *(path.with_suffix(file.suffix) for file in made if len(made) > 1 and file.suffix != path.suffix)]
    return Exported(tuple(files), sum(file.stat().st_size for file in files if file.is_file()), agreement)
