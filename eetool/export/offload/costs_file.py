"""Predicted costs of operating points with a server: a file of eetool beside the goals, which no runtime needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eetool.errors import ArtefactError
from eetool.records import canonical, encode, read_record
from eetool.tune.offload_choice import OffloadChoice
from eetool_runtime.bundle import Bundle

COSTS, COSTS_SCHEMA = "offload_costs.json", "offload_costs/1"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class OffloadForecast:
    """Costs that a variant's choice between server and device was made by.

    Attributes:
        device: name of the device.
        unit: `latency_ms` or `energy_mj`.
        url_host: host and port of the server.
        timeout_ms: of every call.
        wait: mean cost of asking the server, failed calls included.
        p_fail: share of the calls without an answer in time.
        points: the choice of every operating point.
    """

    device: str
    unit: str
    url_host: str
    timeout_ms: float
    wait: float
    p_fail: float
    points: dict[str, OffloadChoice]


@dataclass(frozen=True)
class _Document:
    variants: dict[str, OffloadForecast]


def write_forecasts(folder: Path, variants: Mapping[str, OffloadForecast]) -> None:
    """Write the forecasts of variants of the bundle in `folder`, before its manifest; without any, no file."""
    (folder / COSTS).unlink(missing_ok=True)
    if variants:
        text = canonical({"schema": COSTS_SCHEMA, "variants": encode(dict(variants))})
        (folder / COSTS).write_text(text, encoding="utf-8")


def read_forecasts(bundle: Bundle) -> dict[str, OffloadForecast]:
    """Return the forecasts of a bundle by variant; empty where none was made.

    Raises:
        ArtefactError: the file is damaged or of another version.
    """
    file = bundle.manifest.files.get(COSTS)
    if file is None or bundle.manifest.offload is None:
        return {}
    path = bundle.file(COSTS)
    if file.size_bytes > _MAX_BYTES:
        raise ArtefactError(f"{path}: is too large", "Tune the bundle again with --link.")
    return read_record(_Document, path, COSTS_SCHEMA).variants
