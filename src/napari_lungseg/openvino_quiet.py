"""OpenVINO without its telemetry, which tells a server of each import: nothing here uses a network."""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"

_hidden = _TELEMETRY not in sys.modules
if _hidden:
    # As if it were not installed, which OpenVINO allows for.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset13 as ops
finally:
    if _hidden:
        del sys.modules[_TELEMETRY]

__all__ = ["openvino", "ops"]
