"""Inputs of a report: JSON documents of other commands, and a bundle."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eetool.advise.document import SCHEMA as ADVISE
from eetool.advise.document import Advice
from eetool.bench.benchmark import SCHEMA as BENCH
from eetool.bench.benchmark import Bench
from eetool.bench.device_comparison import Estimate
from eetool.bench.earlier_documents import EARLIER, upgrade
from eetool.errors import ArtefactError, UsageError
from eetool.latency.estimate.predictor import SCHEMA as PREDICT
from eetool.model.history import TrainingHistory
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
    """One exit on held-out examples, without gates: its accuracy and the MACs to leave there."""

    exit: int
    tap: str | None
    macs: int
    accuracy: float | None


@dataclass(frozen=True)
class TrainSummary:
    """Fields of `train/1` that a report uses; `history` is null in documents of older versions."""

    model: str
    exits: tuple[TrainedExit, ...]
    split: str | None
    n: int
    history: TrainingHistory | None = None


@dataclass(frozen=True)
class TuneSummary:
    """Fields of `tune/1` that a report uses."""

    max_accuracy_drop: float
    operating_points: dict[str, OperatingPoint]


@dataclass(frozen=True)
class CandidateSummary:
    """Accuracy in [0, 1] and mean costs of a candidate; costs that the search did not evaluate are null."""

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
    """One evaluation of a search, and the hypervolume of the front after it."""

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
    """Fields of `search/1` that a report uses; `objective` is the minimised cost.

    `history` is empty in documents of older versions.
    """

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
    """Origin of figures in the report: one line of its footer."""

    name: str
    schema: str
    made_by: str
    sha256: str
    machine: Machine | None = None


@dataclass
class ReportInputs:
    """All inputs of a report; those not given are None or empty. `device` is the one whose verdict comes first."""

    origins: list[DocumentOrigin] = field(default_factory=list)
    bench: Bench | None = None
    profile: Profile | None = None
    predictions: list[Estimate] = field(default_factory=list)
    training: TrainSummary | None = None
    tuning: TuneSummary | None = None
    search: SearchSummary | None = None
    advice: Advice | None = None
    bundle: Bundle | None = None
    device: str | None = None

    @property
    def asked_prediction(self) -> Estimate | None:
        """Prediction for the device that the report is for; None where none was asked for."""
        return next((p for p in self.predictions if p.device == self.device), None)

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Operating points as fitted, from the bundle or from the document of `tune`."""
        if self.bundle is not None:
            variants = self.bundle.manifest.variants
            judged = self.bench.judged_variant if self.bench is not None else None
            return variants[judged if judged in variants else next(iter(variants))].operating_points
        return self.tuning.operating_points if self.tuning is not None else {}


_SINGLE_DOCUMENTS: dict[str, tuple[str, type[Any], bool]] = {
    # schema: (field of ReportInputs, record, whether the record is the whole document)
    BENCH: ("bench", Bench, True),
    PROFILE: ("profile", Profile, True),
    TRAIN: ("training", TrainSummary, False),
    TUNE: ("tuning", TuneSummary, False),
    SEARCH: ("search", SearchSummary, False),
    ADVISE: ("advice", Advice, True),
}
_ENVELOPE = ("eetool", "command", "schema", "ok", "error")


def read_report_inputs(paths: Sequence[Path]) -> ReportInputs:
    """Read documents and at most one bundle.

    Raises:
        UsageError: two bundles, or two documents of a schema that a report shows once.
        ArtefactError: a file is missing, is not a document of eetool, or is that of a failed command.
    """
    inputs = ReportInputs()
    for path in paths:
        if path.is_dir():
            _set_once(inputs, "bundle", open_bundle(path), path)
            inputs.origins.append(_origin_of_bundle(path, inputs.bundle))
        else:
            _read_document(path, inputs)
    return inputs


def _read_document(path: Path, inputs: ReportInputs) -> None:
    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(
            f"{path}: {reason}",
            "Give the output of advise, train, tune, profile, estimate, bench or search.",
        )

    text = read_text(path)
    document = visible_in(parse_json(text, refuse))
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(document, dict) and document.get("ok") is False and schema != BENCH:  # it is kept, however noisy
        raise refuse("is the output of a command that failed")
    fields = {k: v for k, v in document.items() if k not in _ENVELOPE} if isinstance(document, dict) else {}
    if schema == EARLIER:
        fields, schema = upgrade(fields, refuse), BENCH
    if schema == PREDICT:
        prediction = decode(Estimate, fields, refuse)
        inputs.predictions.append(prediction)
        document_record: Any = prediction
    elif schema in _SINGLE_DOCUMENTS:
        name, record, whole = _SINGLE_DOCUMENTS[schema]
        document_record = decode(record, fields, refuse, ignore_unknown=not whole)
        _set_once(inputs, name, document_record, path)
    else:
        raise refuse(f"a report does not show documents of schema {schema!r}")
    made_by = f"eetool {document.get('eetool')} {document.get('command')}"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    inputs.origins.append(
        DocumentOrigin(
            visible(path.name), str(document["schema"]), made_by, sha256, getattr(document_record, "machine", None)
        )
    )


def _set_once(inputs: ReportInputs, name: str, value: Any, path: Path) -> None:
    if getattr(inputs, name) is not None:
        raise UsageError(f"{path} is a second {name}, and a report shows one", "Make one report for each.")
    setattr(inputs, name, value)


def _origin_of_bundle(path: Path, bundle: Bundle | None) -> DocumentOrigin:
    assert bundle is not None  # it was just opened
    sha256 = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    made_by = ", ".join(f"{name} {version}" for name, version in bundle.manifest.producer.items())
    return DocumentOrigin(visible(path.name), BUNDLE, made_by, sha256)
