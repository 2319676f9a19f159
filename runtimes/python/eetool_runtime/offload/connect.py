"""Choice of the client for the scheme of a URL."""

from __future__ import annotations

from ..errors import BackendError
from .client import InferenceClient
from .options import Offload


def open_client(offload: Offload) -> InferenceClient:
    """Return a client that is not connected yet.

    Raises:
        BackendError: gRPC is asked for, and the libraries for it are not installed.
        UsageError: a file of certificates or keys is invalid.
    """
    if not offload.endpoint.is_grpc:
        from .rest_client import RestClient

        return RestClient(offload)
    try:
        from .grpc_client import GrpcClient
    except ImportError as error:
        raise BackendError(
            f"gRPC needs a library that is not installed: {error.name}",
            "Install it with: pip install eetool-runtime[offload], or use https:// or http://.",
        ) from None
    return GrpcClient(offload)
