"""Runtime for early-exit bundles: easy inputs leave at an early exit, hard ones go deeper.

It imports numpy and one backend, nothing else. Entry points: `load`, `Model`, `Result`, `open_bundle`.

import eetool_runtime as ee

model = ee.load("model.eebundle")
result = model(x)
result.label, result.exit, result.confidence, result.latency_ms
"""

from .bundle import Bundle, open_bundle
from .errors import EarlyExitError
from .loading import load
from .model import Model
from .result import Result

__version__ = "0.1.0"

__all__ = ["Bundle", "EarlyExitError", "Model", "Result", "load", "open_bundle"]
