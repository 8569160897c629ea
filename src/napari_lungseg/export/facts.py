"""What every exported file says of itself: how images must come, and what is found."""

from __future__ import annotations

from typing import Any

from napari_lungseg import __version__
from napari_lungseg.card import Card
from napari_lungseg.framing import framing_of

#: Names of the graph's input and output, and of the JSON text in a file's metadata.
INPUT, OUTPUT, FACTS = "image", "probability", "napari-lungseg"


def network_range(card: Card) -> tuple[float, float]:
    """What the network reads for the lower and the upper end of the window; air is the lower one."""
    framing = framing_of(card.preprocessing)
    return float(framing.scaled(-1.0)), float(framing.scaled(1.0))


def facts_of(card: Card, precision: str) -> dict[str, Any]:
    """What a program needs to use the graph, as JSON has it."""
    low, high = card.preprocessing.window_hu
    if card.preprocessing.convention == "lungmask":
        place = "the body of each axial slice stretched to 256 x 256 pixels"
    else:
        place = f"axial slices of any size with pixels of {card.preprocessing.spacing_mm:g} mm"
    return {
        "name": card.name,
        "description": card.description,
        "input": f"{place}, the patient's right on the left and the front on top, HU in float32, clipped to {low:g} .. {high:g} before "
        f"they are resampled; images that are no CT in HU with their range mapped to {low:g} .. {high:g}. Sides are padded inside."
        + (f" Channels are {card.unet.in_channels} slices, feet first." if card.unet.context_slices else ""),
        "output": "probability of each class, 0 to 1; belongs to any class where their sum is 0.5 or more",
        "convention": card.preprocessing.convention,
        "spacing_mm": card.preprocessing.spacing_mm,
        "window_hu": [low, high],
        "classes": list(card.classes),
        "labels": list(card.labels),
        "sides": card.sides,
        "context_slices": card.unet.context_slices,
        "licence": card.licence,
        "weights_sha256": card.weights_sha256,
        "precision": precision,
        "version": __version__,
    }
