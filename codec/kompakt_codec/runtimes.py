"""ONNX Runtime and OpenVINO, imported here alone: each would report its use to its maker.

ONNX Runtime tells of the machine, the models and the errors, OpenVINO that it was imported. Nobody
who compresses images has asked for that.
"""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # looked at when the library is loaded
import onnxruntime

_REPORTER = "openvino_telemetry"
if _REPORTER in sys.modules:
    import openvino
else:
    # Without this package, which it depends on, OpenVINO reports nothing.
    sys.modules[_REPORTER] = None  # type: ignore[assignment]
    import openvino

    del sys.modules[_REPORTER]

__all__ = ["onnxruntime", "openvino"]
