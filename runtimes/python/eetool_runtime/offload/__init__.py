"""Offloading: a server computes what lies behind an exit, over the Open Inference Protocol v2.

    from eetool_runtime.offload import Offload

    model = ee.load("model.eebundle", offload=Offload("grpcs://edge:8001", timeout_ms=40))

docs/offload.md is normative. Nothing here is imported by a model without `offload=`. Over REST it needs the standard
library, over gRPC the extra `eetool-runtime[offload]`.
"""

from .connect import open_client
from .errors import OffloadError
from .options import Offload

__all__ = ["Offload", "OffloadError", "open_client"]
