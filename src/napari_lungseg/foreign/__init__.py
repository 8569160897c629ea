"""Models of other programs, read into this package's own form; nothing in them is run as code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.foreign.onnx_file import OnnxFacts
from napari_lungseg.foreign.torch_file import names_in

#: In every bundle of MONAI; the network, in ONNX, beside it.
_BUNDLE_MARK, _BUNDLE_NETWORK = "configs/metadata.json", "models/model.onnx"


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """A model that was read from a file of another program.

    Attributes
    ----------
    data : bytes
        The file of its network, as :func:`~napari_lungseg.library.network_file` names it.
    card : Card
        What is known of it.
    """

    data: bytes
    card: Card


def read_foreign(path: Path, name: str | None = None, facts: OnnxFacts | None = None) -> ForeignModel:
    """Read weights of lungmask, an export of nnU-Net, an ONNX file, a package of BioImage.IO, or the ONNX file of a MONAI bundle.

    Parameters
    ----------
    path : Path
        The file; of a bundle its folder.
    name : str, optional
        The model's name; by default its own, or that of the file.
    facts : OnnxFacts, optional
        What an ONNX file does not say of itself.

    Raises
    ------
    InputError
        When it cannot be read, or holds what cannot be used exactly as it is meant.
    """
    from napari_lungseg.foreign.bioimageio import DESCRIPTIONS, read_package
    from napari_lungseg.foreign.nnunet import is_export, read_nnunet
    from napari_lungseg.foreign.onnx_file import read_onnx_model

    if is_export(path) and facts is None:
        return ForeignModel(*read_nnunet(path, name))
    if path.is_dir():
        if not (path / _BUNDLE_MARK).is_file() or not (path / _BUNDLE_NETWORK).is_file():
            raise InputError(
                f"{path} is no model: it has neither card.json nor, as a bundle of MONAI, {_BUNDLE_MARK} and {_BUNDLE_NETWORK}; "
                "other files of a bundle are code, which is not run."
            )
        name, path = name or path.resolve().name, path / _BUNDLE_NETWORK
    if path.suffix.lower() == ".onnx":
        return ForeignModel(*read_onnx_model(path, name, facts or OnnxFacts()))
    if not set(names_in(path)).isdisjoint(DESCRIPTIONS):
        return ForeignModel(*read_package(path, name, facts or OnnxFacts()))
    if facts is not None:
        raise InputError(f"{path} is neither an ONNX file nor a package of BioImage.IO; give labels, window and the like for these only.")
    import safetensors.numpy

    from napari_lungseg.foreign.lungmask_weights import read_lungmask

    found = read_lungmask(path, name)
    return ForeignModel(safetensors.numpy.save(found.weights), found.card)
