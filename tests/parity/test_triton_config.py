"""Triton's own description of a configuration knows every field that is written; `tox -e parity` installs it."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

from napari_lungseg.export.triton import triton_config
from napari_lungseg.model import load_model

pytest.importorskip("tritonclient", reason="tritonclient is not installed: tox -e parity compares with it")


def test_the_configuration_is_one_of_triton():
    from google.protobuf import text_format

    # Without the client beside it, which needs gRPC.
    description = runpy.run_path(str(Path(find_spec("tritonclient").origin).parent / "grpc" / "model_config_pb2.py"))
    config = text_format.Parse(triton_config(load_model("lung-ct").card), description["ModelConfig"]())
    assert (config.name, config.backend, config.max_batch_size) == ("lung-ct", "onnxruntime", 8)
    assert [list(tensor.dims) for tensor in (*config.input, *config.output)] == [[1, -1, -1]] * 2
