"""The configuration of a model for NVIDIA's Triton Inference Server, which runs the ONNX file."""

from __future__ import annotations

from napari_lungseg.card import Card
from napari_lungseg.export.facts import INPUT, OUTPUT

#: Slices that Triton may put into one batch.
MOST_BATCH = 8


def triton_config(card: Card) -> str:
    """Text of ``config.pbtxt``."""

    def tensor(kind: str, name: str, channels: int) -> str:
        return f'{kind} [\n  {{\n    name: "{name}"\n    data_type: TYPE_FP32\n    dims: [ {channels}, -1, -1 ]\n  }}\n]\n'

    return (
        f'name: "{card.name}"\nbackend: "onnxruntime"\nmax_batch_size: {MOST_BATCH}\n'
        + tensor("input", INPUT, card.unet.in_channels)
        + tensor("output", OUTPUT, card.unet.classes)
        + "dynamic_batching { }\n"
    )
