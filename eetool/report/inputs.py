"""What a report is made from: the JSON documents of other commands, and a bundle."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eetool.bench.benchmark import SCHEMA as BENCH
from eetool.bench.benchmark import Bench
from eetool.errors import ArtefactError, UsageError
from eetool.latency.estimate.predictor import SCHEMA as PREDICT
from eetool.latency.estimate.predictor import Prediction
from eetool.printable_text import visible, visible_in
from eetool.profile.profiler import SCHEMA as PROFILE
from eetool.profile.profiler import Profile
from eetool.records import decode, read_text
from eetool_measure.machine import Machine
from eetool_runtime.bundle import MANIFEST, Bundle, open_bundle
from eetool_runtime.manifest import OperatingPoint
from eetool_runtime.records import parse_json

TRAIN, TUNE, SEARCH, BUNDLE = "train/1", "tune/1", "search/1", "bundle"

T = TypeVar("T")


@dataclass(frozen=True)
class TrainedExit:
    """An exit alone, on held-out examples: accuracy and the MACs to leave there."""

    exit: int
    tap: str | None
    macs: int
    accuracy: float | None


@dataclass(frozen=True)
class TrainSummary:
    """What a report reads of `train/1`."""

    model: str
    exits: tuple[TrainedExit, ...]
    split: str | None
    n: int


@dataclass(frozen=True)
class TuneSummary:
    """What a report reads of `tune/1`."""

    max_accuracy_drop: float
    operating_points: dict[str, OperatingPoint]


@dataclass(frozen=True)
class CandidateSummary:
    """Accuracy in [0, 1] and mean costs of a candidate; null where the search did not look at them."""

    accuracy: float
    macs: float
    latency_ms: float | None = None
    energy_mj: float | None = None


@dataclass(frozen=True)
class FrontCandidate:
    """A candidate on the front of a search."""

    id: str
    backbone: str
    figures: CandidateSummary


@dataclass(frozen=True)
class SearchProgress:
    """One evaluation of a search, and how far it had come with it; `hypervolume` grows."""

    evaluated: int
    id: str
    accuracy: float
    macs: float
    latency_ms: float | None
    energy_mj: float | None
    feasible: bool
    hypervolume: float


@dataclass(frozen=True)
class SearchSummary:
    """What a report reads of `search/1`. `objective` is the cost that was searched by; `history`: not in early ones."""

    algorithm: str
    objective: str
    device: str | None
    evaluated: int
    feasible: int
    hypervolume: float
    knee: str
    front: tuple[FrontCandidate, ...]
    history: tuple[SearchProgress, ...] = ()


@dataclass(frozen=True)
class DocumentOrigin:
    """Where figures of the report come from: a line of its footer."""

    name: str
    schema: str
    made_by: str
    sha256: str
    machine: Machine | None = None


@dataclass
class ReportInputs:
    """Everything a report can show; what was not given is None or empty."""

    origins: list[DocumentOrigin] = field(default_factory=list)
    bench: Bench | None = None
    profile: Profile | None = None
    predictions: list[Prediction] = field(default_factory=list)
    training: TrainSummary | None = None
    tuning: TuneSummary | None = None
    search: SearchSummary | None = None
    bundle: Bundle | None = None

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Operating points as fitted, from the bundle or from what `tune` said."""
        if self.bundle is not None:
            variants = self.bundle.manifest.variants
            name = self.bench.variant if self.bench is not None and self.bench.variant in variants else None
            return variants[name or next(iter(variants))].operating_points
        return self.tuning.operating_points if self.tuning is not None else {}


_ONE_OF_A_KIND: dict[str, tuple[str, type[Any], bool]] = {
    # schema: (field of ReportInputs, record, whether the record is the whole document)
    BENCH: ("bench", Bench, True),
    PROFILE: ("profile", Profile, True),
    TRAIN: ("training", TrainSummary, False),
    TUNE: ("tuning", TuneSummary, False),
    SEARCH: ("search", SearchSummary, False),
}
_ENVELOPE = ("eetool", "command", "schema", "ok")


def read_report_inputs(paths: Sequence[Path]) -> ReportInputs:
    """Read documents and at most one bundle.

    Raises:
        UsageError: two documents of a kind that a report shows one of.
        ArtefactError: a file is missing, no document of eetool, or says that its command failed.
    """
    found = ReportInputs()
    for path in paths:
        if path.is_dir():
            _set(found, "bundle", open_bundle(path), path)
            found.origins.append(_origin_of_bundle(path, found.bundle))
        else:
            _read_document(path, found)
    return found


def _read_document(path: Path, found: ReportInputs) -> None:
    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(
            f"{path}: {reason}", "Give what train, tune, profile, bench or search printed with --json."
        )

    text = read_text(path)
    document = visible_in(parse_json(text, refuse))
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(document, dict) and document.get("ok") is False:
        raise refuse("is the answer of a command that failed")
    fields = {k: v for k, v in document.items() if k not in _ENVELOPE} if isinstance(document, dict) else {}
    if schema == PREDICT:
        prediction = decode(Prediction, fields, refuse)
        found.predictions.append(prediction)
        read: Any = prediction
    elif schema in _ONE_OF_A_KIND:
        name, record, whole = _ONE_OF_A_KIND[schema]
        read = decode(record, fields, refuse, ignore_unknown=not whole)
        _set(found, name, read, path)
    else:
        raise refuse(f"a report has no use for schema {schema!r}")
    made_by = f"eetool {document.get('eetool')} {document.get('command')}"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    found.origins.append(
        DocumentOrigin(visible(path.name), str(schema), made_by, sha256, getattr(read, "machine", None))
    )


def _set(found: ReportInputs, name: str, value: Any, path: Path) -> None:
    if getattr(found, name) is not None:
        raise UsageError(f"{path} is a second {name}, and a report shows one", "Make a report for each.")
    setattr(found, name, value)


def _origin_of_bundle(path: Path, bundle: Bundle | None) -> DocumentOrigin:
    assert bundle is not None  # it was just opened
    sha256 = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    made_by = ", ".join(f"{name} {version}" for name, version in bundle.manifest.producer.items())
    return DocumentOrigin(visible(path.name), BUNDLE, made_by, sha256)
