"""A model as a BioImage.IO package (https://bioimage.io), with an ONNX file, test tensors and a cover."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_lungseg.agreement import found_labels
from napari_lungseg.card import Card
from napari_lungseg.export.check import Batch
from napari_lungseg.export.facts import FACTS, INPUT, OUTPUT, facts_of
from napari_lungseg.export.onnx_graph import OPSET
from napari_lungseg.library import list_models

_DOI = re.compile(r"10\.\d{4,9}/[^\s;,]+")
_UNET = (
    "O. Ronneberger, P. Fischer, T. Brox 2015: U-Net: convolutional networks for biomedical image segmentation",
    "10.1007/978-3-319-24574-4_28",
)
#: The beginning of a card's licence, where it is one of these by its name in SPDX.
_SPDX = re.compile(r"(BSD-[23]-Clause|MIT|Apache-2\.0|CC0-1\.0|CC-BY(-SA|-NC|-NC-SA)?-4\.0|A?GPL-3\.0-(only|or-later))(?=$|[\s;,])")
FORMAT_VERSION = "0.5.4"
_DEVELOPERS = "napari-lungseg developers"
#: Least sides that are promised; smaller ones are padded to these anyway.
_LEAST_SIDE = 32


def save_package(onnx_file: Path, card: Card, precision: str, images: Batch, found: Batch, authors: Sequence[str], path: Path) -> None:
    """Write the package.

    Parameters
    ----------
    onnx_file : Path
        The graph.
    images, found : (1, channels, H, W) and (1, classes, H, W) array of float32
        Test tensors.
    authors : sequence of str
        By default those that are known of a bundled model.
    path : Path
        The package.
    """
    files = {
        "model.onnx": onnx_file.read_bytes(),
        "input.npy": _npy(images),
        "output.npy": _npy(found),
        "cover.png": _cover(images, found, card),
        "README.md": _text(card, precision).encode(),
    }
    description = _description(card, precision, images.shape[1], authors, files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        # JSON is YAML, too.
        package.writestr("rdf.yaml", json.dumps(description, indent=1, ensure_ascii=False))
        for name, data in files.items():
            package.writestr(name, data)


def _description(card: Card, precision: str, channels: int, authors: Sequence[str], files: dict[str, bytes]) -> dict[str, Any]:
    def file(name: str) -> dict[str, Any]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    def channel(names: Sequence[str]) -> dict[str, Any]:
        return {"type": "channel", "id": "channel", "channel_names": [re.sub(r"\W", "_", name) for name in names]}

    def space(axis: str, size: dict[str, Any]) -> dict[str, Any]:
        physical = {} if card.preprocessing.convention == "lungmask" else {"unit": "millimeter", "scale": card.preprocessing.spacing_mm}
        return {"type": "space", "id": axis, "size": size, **physical}

    given: dict[str, Any] = {
        "id": INPUT,
        "description": "HU",
        "axes": [
            {"type": "batch"},
            channel([f"slice_{index}" for index in range(channels)]),
            *(space(axis, {"min": _LEAST_SIDE, "step": 1}) for axis in "yx"),
        ],
        "test_tensor": file("input.npy"),
        "data": {"type": "float32"},
        # Nothing is left to do: the graph itself reads HU, and clips them.
        "preprocessing": [],
    }
    result = {
        "id": OUTPUT,
        "description": "Probability of each class",
        "axes": [{"type": "batch"}, channel(card.classes), *(space(axis, {"tensor_id": INPUT, "axis_id": axis}) for axis in "yx")],
        "test_tensor": file("output.npy"),
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "postprocessing": [],
    }
    licence = _SPDX.match(card.licence)
    return {
        "type": "model",
        "format_version": FORMAT_VERSION,
        "name": f"{card.name} {precision}",
        "description": card.description.partition("\n")[0][:1024],
        "authors": [{"name": name} for name in authors or _authors(card)],
        "cite": [{"text": text, "doi": doi} for text, doi in cited(card)],
        **({"license": licence[0]} if licence else {}),
        "documentation": "README.md",
        "covers": ["cover.png"],
        "tags": ["segmentation", "computed-tomography", "lung", "2d", "unet"],
        "inputs": [given],
        "outputs": [result],
        "weights": {"onnx": {**file("model.onnx"), "opset_version": OPSET}},
        "config": {FACTS: facts_of(card, precision)},
    }


def cited(card: Card) -> list[tuple[str, str]]:
    """Texts with DOIs: of the network, of what the licence names, and of the data that the card names."""
    found = dict([_UNET[::-1]])
    for doi in _DOI.findall(card.licence):
        found.setdefault(doi.rstrip("."), card.licence)
    sources = card.training.get("sources")
    for source in sources if isinstance(sources, list) else []:
        for doi in _DOI.findall(str(source.get("doi", ""))):
            found.setdefault(doi, f"Data: {source.get('data')} ({source.get('licence')})")
    return [(text, doi) for doi, text in found.items()]


def _authors(card: Card) -> list[str]:
    return (
        [_DEVELOPERS]
        if any(
            entry.place == "bundled" and entry.card is not None and entry.card.weights_sha256 == card.weights_sha256
            for entry in list_models()
        )
        else []
    )


def _text(card: Card, precision: str) -> str:
    facts = facts_of(card, precision)
    classes = ", ".join(f"{name} (label {label})" for name, label in zip(card.classes, card.labels, strict=True))
    parts = {
        card.name: card.description,
        "Input": facts["input"],
        "Output": f"{facts['output']}. Classes: {classes}.",
        "Licence": card.licence or "Not known.",
        "Validation": f"Scores on cases kept aside, as the card has them:\n\n```json\n{json.dumps(card.scores, indent=1)[:4000]}\n```",
    }
    return "\n\n".join(f"# {title}\n\n{text}" for title, text in parts.items()) + "\n"


def _npy(array: Batch) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _cover(image: Batch, found: Batch, card: Card) -> bytes:
    """A slice in its window with what was found on it."""
    low, high = card.preprocessing.window_hu
    grey = np.clip((image[0, image.shape[1] // 2] - low) / (high - low), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=-1)
    picture[found_labels(found[0]) > 0] = picture[found_labels(found[0]) > 0] * 0.6 + np.array([0, 160, 200]) * 0.4
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
