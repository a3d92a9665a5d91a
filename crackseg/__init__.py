"""crackseg: from photographs of concrete to a crack inventory in millimetres."""

import os

__version__ = "0.16.0"

# ONNX Runtime's Linux wheels from 1.29 on report model names and hashes to their maker unless this
# stands before their import. What is inspected here is nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
