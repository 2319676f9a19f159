"""Optuna's storage proxy: a gRPC server between many workers and the database that holds their studies.

Workers then need neither the database's driver nor its password. The proxy itself has no password and no encryption.
"""

from typing import Any

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.search.study.storage_url import PROXY_SCHEME, StorageUrl

_READY_SECONDS = 30.0
_HINT = f"Such as {PROXY_SCHEME}://host:13000."
_NO_STUDY = "no study has this name"


def connect_proxy(url: StorageUrl) -> Any:
    """Return Optuna's client of the proxy at `url`.

    Raises:
        UsageError: the URL has other parts than a host and a port.
        ArtefactError: nothing answers there, or another server does.
        ImportError: grpcio or protobuf is not installed.
    """
    import warnings

    import optuna
    from grpc import RpcError

    parts = url.url
    if parts.username or parts.password or parts.database or parts.query:
        raise UsageError(f"--storage {url}: a proxy's URL has a host and a port only", _HINT)
    if not parts.host or not parts.port:
        raise UsageError(f"--storage {url}: the host or the port of the proxy is missing", _HINT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = optuna.storages.GrpcStorageProxy(host=parts.host, port=parts.port)
    try:
        proxy.wait_server_ready(_READY_SECONDS)
        proxy.get_study_id_from_name(_NO_STUDY)
    except KeyError:
        return proxy
    except (RpcError, ConnectionError) as error:
        proxy.close()
        raise proxy_refusal(url, error) or _unopened(url, proxy_reason(error)) from None
    return proxy


def proxy_refusal(url: StorageUrl, error: BaseException) -> EarlyExitError | None:
    """Return the error where a retry of the call does not help, else None."""
    if _code(error) == "UNIMPLEMENTED":
        return ArtefactError(
            f"the storage {url}: the server there is not a storage proxy of Optuna", "Check host and port."
        )
    return None


def proxy_reason(error: BaseException) -> str:
    """Return why a call failed; never the server's own text, which may quote how it reaches its database."""
    reasons = {"UNAVAILABLE": "no connection", "UNKNOWN": "the proxy could not use its database; its log says why"}
    code = _code(error)
    return reasons.get(code, code) if code else "no answer"


def _code(error: BaseException) -> str:
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) and code() is not None else ""


def _unopened(url: StorageUrl, reason: str) -> ArtefactError:
    return ArtefactError(f"the storage {url} cannot be opened: {reason}", "Check that the proxy and its database run.")
