"""Options of `eetool search`, and what they say about data, device and search."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.cli.progress_bars import TerminalProgress

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice
    from eetool.data.source import Source
    from eetool.latency.table.hw_profile import HwProfile
    from eetool.search.search import SearchOptions, SearchTarget
    from eetool.search.space.space import Space

_IMAGE_AXES = 4
AEBNAS, LOCAL = "aebnas", "local"  # methods where none is asked for: of spaces, and of a backbone
LIMIT_OPTIONS = {
    "macs": ("--max-macs", "Mean multiply-accumulates, such as 2.5e6."),
    "latency_ms": ("--max-latency-ms", "Mean latency on the device."),
    "energy_mj": ("--max-energy-mj", "Mean energy on the device."),
    "worst_macs": ("--max-worst-macs", "Multiply-accumulates at full depth."),
    "worst_latency_ms": ("--max-worst-latency-ms", "Latency at full depth."),
    "parameters": ("--max-parameters", "Weights of the network."),
    "peak_memory_bytes": ("--max-peak-memory-bytes", "Weights and live activations, batch 1."),
}


@dataclass(frozen=True)
class SearchRequest:
    """Options of `eetool search`."""

    space: str | None
    backbone: str | None
    data: str
    shape: tuple[int, ...] | None
    fit: str | None
    sizes: tuple[int, ...]
    device: str | None
    objective: str | None
    max_macs: float | None
    max_latency_ms: float | None
    max_energy_mj: float | None
    max_worst_macs: float | None
    max_worst_latency_ms: float | None
    max_parameters: float | None
    max_peak_memory_bytes: float | None
    min_accuracy: float | None
    trials: int
    algorithm: str | None
    branches: str
    thresholds: str
    max_accuracy_drop: float
    storage: str | None
    study: str
    resume: bool
    supernet: Path | None
    supernet_epochs: int
    batch_size: int
    weights: Path | None
    weights_key: str | None
    normalisation: str | None
    hold_out: str | None
    named: tuple[str, ...]
    learning_rate: float
    examples: int
    epochs: int
    fine_tune: int
    seed: int
    threads: int | None
    device_threads: int
    watts: float | None
    torch_device: str
    output: Path
    force: bool
    check_table: bool

    @property
    def limits(self) -> dict[str, float]:
        """Limits by the names that `eetool.search.search_results.LIMITS` has."""
        given = {name: getattr(self, f"max_{name}") for name in LIMIT_OPTIONS}
        limits = {name: limit for name, limit in given.items() if limit is not None}
        return limits if self.min_accuracy is None else {**limits, "min_accuracy": self.min_accuracy / 100}

    @property
    def study_file(self) -> Path:
        """File of the study when there is no --storage."""
        return self.output.with_name(self.output.name + ".study.db")

    @property
    def check_file(self) -> Path:
        """File of the check that the prices of the study rest on."""
        return self.output.with_name(self.output.name + ".check.json")


def sized_data(data: "DataChoice", sizes: tuple[int, ...]) -> "DataChoice":
    """Return photographs without a size at the largest of `sizes`."""
    from dataclasses import replace

    from eetool.data.source_names import FOLDER

    if not sizes or data.name.partition(":")[0] != FOLDER or data.asked() is not None:
        return data
    return replace(data, name=f"{data.name}@{max(sizes)}")


def sized_space(space: "Space", source: "Source", sizes: tuple[int, ...]) -> "Space":
    """Return the space with networks of these sizes; raise UsageError where the data have smaller images, or none."""
    from eetool.errors import UsageError

    if not source.are_pixels or source.inputs.ndim != _IMAGE_AXES:
        raise UsageError(f"--sizes are for images, and {source.name} has none", "Leave it out.")
    side, largest = min(source.inputs.shape[2:]), max(sizes)
    if largest > side:
        raise UsageError(
            f"--sizes {largest} is larger than the images of {source.name}, which have {side} pixels",
            "Give sizes up to that; photographs of a folder are read at another one by --data folder:DIR@224.",
        )
    return space.with_sizes(tuple(sorted(set(sizes))))


def check_study(request: SearchRequest) -> None:
    """Refuse to replace the study of an earlier search without --resume or --force."""
    from eetool.errors import OutputError
    from eetool.workspace import clear_leftovers

    if request.storage is not None:
        return
    clear_leftovers(request.study_file)  # a killed run may have moved a study aside
    if request.study_file.exists() and not (request.resume or request.force):
        raise OutputError(f"{request.study_file} holds a study", "--resume continues it, --force starts anew.")


def search_target(request: SearchRequest, progress: TerminalProgress) -> "SearchTarget":
    """Return the device and the conditions of its table."""
    from eetool.latency.table.hw_profile import load_device
    from eetool.search.search import SearchTarget

    profile = load_device(request.device) if request.device else None
    if profile is not None and request.device is not None:
        profile = at_speed_of_study(request, request.device, profile, progress)
    return SearchTarget(profile, threads=request.device_threads, watts=request.watts)


def at_speed_of_study(
    request: SearchRequest, device: str, profile: "HwProfile", progress: TerminalProgress
) -> "HwProfile":
    """Return the profile as a check at the beginning of the study corrects it: one study has one price list.

    Workers that share a --storage may run on other machines, so their table stays as it is.
    """
    from eetool.api.checked_device import present_check, write_check
    from eetool.latency.check.correction import check_remarks, correct_profile
    from eetool.latency.check.table_check import SCHEMA, TableCheck
    from eetool.records import read_record
    from eetool.search.search import table_backend

    if request.storage is not None:
        return profile
    if request.resume and request.study_file.exists():
        recorded = request.check_file.exists()
        return correct_profile(profile, read_record(TableCheck, request.check_file, SCHEMA)) if recorded else profile
    request.check_file.unlink(missing_ok=True)
    conditions = (table_backend(profile), "fp32", request.device_threads)
    check = present_check(device, profile, conditions, progress) if request.check_table else None
    if check is None:
        return profile
    for remark in check_remarks(check):
        progress.note(f"warning: {remark}")
    write_check(request.check_file, check)
    return correct_profile(profile, check)


def search_options(request: SearchRequest) -> "SearchOptions":
    """Return the settings of the search."""
    from eetool.search.search import SearchOptions

    return SearchOptions(
        algorithm=request.algorithm or (AEBNAS if request.backbone is None else LOCAL),
        trials=request.trials,
        seed=request.seed,
        objective=request.objective,
        limits=request.limits,
        branches=request.branches,
        thresholds=request.thresholds,
        max_accuracy_drop=request.max_accuracy_drop,
        examples=request.examples,
        epochs=request.epochs,
        fine_tune=request.fine_tune,
        torch_device=request.torch_device,
    )
