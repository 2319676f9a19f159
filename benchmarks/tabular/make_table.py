"""The command `make`: train backbones and branches with two processes, resumable, and write the table.

Everything that is done stays in a folder. The same command continues after an interruption.
"""

import hashlib
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eetool.api.checkpoints import load_data
from eetool.api.training import train
from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.data.splits import FROM_TEST, FROM_TRAIN, TEMPERATURE, TEST, THRESHOLD, TRAIN, split_source
from eetool.errors import UsageError
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import load_device
from eetool.model.checkpoint import Checkpoint, load_checkpoint
from eetool.records import encode, write_atomic, write_file
from eetool.search.search import table_backend
from eetool.workspace import clear_folder
from tabular.exit_figures import (
    BranchedBackbone,
    BranchTraining,
    backbone_costs,
    backbone_features,
    empty_graph,
    outputs,
    tap_outputs,
    tapped,
)
from tabular.family import BRANCHES, FamilyMember
from tabular.table_file import FORMAT, PARTS, RULE, SearchTable, write_table

_NORMALISATION = "imagenet"  # of the published weights
BATCH = 128
_DROPPED_BITS = 5  # of the ten behind the leading one
_COMPLETE = "names.json"  # the last file of a backbone
_SPLITS = (THRESHOLD, TEMPERATURE, TEST)  # of the parts `threshold`, `judge` and `test`


@dataclass(frozen=True)
class MakeSettings:
    """Settings of a table; they are recorded in it, and a folder belongs to one of them.

    Attributes:
        data: data source.
        devices: devices that costs are predicted for.
        training: of the branches.
    """

    data: str
    devices: tuple[str, ...] = ("rpi4", "rpi5")
    training: BranchTraining = field(default_factory=BranchTraining)


@dataclass(frozen=True)
class Examples:
    """Examples of a table: `held_out` holds those of all parts, one part after another."""

    source: Source
    hold_out: str
    training: np.ndarray
    held_out: np.ndarray
    counts: dict[str, int]


def choose_examples(settings: MakeSettings) -> Examples:
    """Return the examples of a table.

    Where there is an official test set, all parts are of it: published weights have seen all training images.
    """
    source = load_source(settings.data)
    hold_out = FROM_TEST if source.official_test else FROM_TRAIN
    splits = split_source(source, hold_out)
    train_split = splits[TRAIN]
    chosen = np.random.default_rng(settings.training.seed).permutation(train_split)[: settings.training.examples]
    parts = [splits[name] for name in _SPLITS]
    counts = {part: len(indices) for part, indices in zip(PARTS, parts, strict=True)}
    return Examples(source, hold_out, np.sort(chosen), np.concatenate(parts), counts)


def make_table(
    members: list[FamilyMember], settings: MakeSettings, folder: Path, output: Path, workers: int, force: bool
) -> dict[str, Any]:
    """Make what is missing in `folder`, write the table, and return the seconds that every step took.

    Raises:
        UsageError: the folder belongs to other settings, or published weights meet data without a test set.
        OutputError: `output` exists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    examples = choose_examples(settings)
    if examples.hold_out == FROM_TRAIN and any(member.weights for member in members):
        raise UsageError(f"{settings.data} has no test set, and published weights saw all training images")
    _check_folder(folder, settings)
    missing = [member for member in members if not (folder / member.name / _COMPLETE).is_file()]
    if workers < 2:
        for member in missing:
            make_member(member, settings, folder)
    elif missing:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for done in as_completed([pool.submit(make_member, member, settings, folder) for member in missing]):
                done.result()
    write_table(output, _assemble(members, settings, examples, folder), force)
    return {member.name: json.loads((folder / member.name / "seconds.json").read_text()) for member in members}


def make_member(member: FamilyMember, settings: MakeSettings, folder: Path) -> None:
    """Make everything of one backbone that its folder lacks: the network, one file for each tap, and the costs."""
    torch.set_num_threads(1)
    own = folder / member.name
    own.mkdir(exist_ok=True)
    clear_folder(own)
    with _timed(own, "backbone"):
        checkpoint = _backbone(member, settings, own)
        backbone = tapped(member, checkpoint)
    examples = choose_examples(settings)
    files = [own / f"tap{tap}.npz" for tap in range(len(backbone.taps))]
    if not all(path.is_file() for path in (*files, own / "final.npz")):
        with _timed(own, "features"):
            features = backbone_features(backbone, examples.source, examples.training, examples.held_out)
        fitted, labels = examples.counts[PARTS[0]], examples.source.labels[examples.held_out]
        _save(own / "final.npz", outputs(features.final(1)[None].numpy(), labels, fitted))
        for tap, path in enumerate(files):
            if not path.is_file():
                with _timed(own, path.stem):
                    _save(path, tap_outputs(backbone, features, tap, settings.training, fitted))
    if not (own / "costs.npz").is_file():
        with _timed(own, "costs"):
            _save(own / "costs.npz", backbone_costs(backbone, {name: _predictor(name) for name in settings.devices}))
    write_atomic(own / _COMPLETE, json.dumps(_names(member, backbone)).encode(), force=True)


def _backbone(member: FamilyMember, settings: MakeSettings, own: Path) -> Checkpoint:
    """Return the trained backbone, from its file where there is one."""
    path = own / "model.pt"
    if path.is_file():
        return load_checkpoint(path)
    hold_out = FROM_TEST if load_source(settings.data).official_test else FROM_TRAIN
    data = load_data(settings.data, normalise=_NORMALISATION if member.weights else None, hold_out=hold_out)
    resume = path.with_name(f"{path.name}.resume").is_file()
    return train(
        *(member.name, data, path),
        exits=0,
        epochs=0 if member.weights else member.epochs,
        weights=member.weights,
        batch_size=BATCH,
        keep="last",  # no epoch is chosen on examples of the table
        trial_export=(),
        resume=resume,
    )


def _names(member: FamilyMember, backbone: BranchedBackbone) -> dict[str, Any]:
    return {
        "name": member.name,
        "weights": None if member.weights is None else hashlib.sha256(member.weights.read_bytes()).hexdigest(),
        "epochs": member.epochs,
        "taps": [tap.name for tap in backbone.taps],
        "branches": [list(row) for row in backbone.branches],
    }


def _predictor(device: str) -> Predictor:
    profile = load_device(device)
    return Predictor(profile, table_backend(profile), "fp32", 1)


def _assemble(members: list[FamilyMember], settings: MakeSettings, examples: Examples, folder: Path) -> SearchTable:
    own = [folder / member.name for member in members]
    arrays = {"labels": examples.source.labels[examples.held_out].astype(np.uint8)}
    taps = [[_load(path / f"tap{tap}.npz") for tap in range(len(list(path.glob("tap*.npz"))))] for path in own]
    for name in ("classes", "uncertainty", "margin"):
        arrays[name] = np.stack([np.stack([at[name] for at in row]) for row in taps])
    arrays["uncertainty"] = _rounded(arrays["uncertainty"])
    arrays["margin"] = (1 - _rounded(1 - arrays["margin"].astype(np.float32))).astype(np.float16)
    finals = [_load(path / "final.npz") for path in own]
    arrays["final_classes"] = np.concatenate([final["classes"] for final in finals])
    arrays["final_uncertainty"] = np.concatenate([final["uncertainty"] for final in finals])
    costs = [_load(path / "costs.npz") for path in own]
    arrays |= {name: np.stack([one[name] for one in costs]) for name in costs[0]}
    predictors = {name: _predictor(name) for name in settings.devices}
    meta = {
        "format": FORMAT,
        "data": examples.source.name,
        "labels": list(examples.source.classes),
        "examples": examples.counts,
        "indices_sha256": hashlib.sha256(examples.held_out.astype("<i8").tobytes()).hexdigest(),
        "hold_out": examples.hold_out,
        "branches": [*BRANCHES, RULE],
        "training": asdict(settings.training),
        "backbones": [json.loads((path / _COMPLETE).read_text()) for path in own],
        "devices": {
            name: {
                "backend": predictor.kernel_costs.backend,
                "threads": predictor.kernel_costs.threads,
                "energy_scope": predictor.graph("graph", []).energy_mj.scope,
                "energy_provenance": predictor.graph("graph", []).energy_mj.provenance,
                "dispatch": empty_graph(predictor),
                "composition": encode(predictor.kernel_costs.composition),
            }
            for name, predictor in predictors.items()
        },
    }
    return SearchTable(meta, arrays)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Return values in float16 with five bits behind the leading one, 3 % apart: the file is then a third smaller."""
    bits = values.astype(np.float16).view(np.uint16).astype(np.uint32)
    half = 1 << (_DROPPED_BITS - 1)
    return ((bits + half) >> _DROPPED_BITS << _DROPPED_BITS).astype(np.uint16).view(np.float16)


def _check_folder(folder: Path, settings: MakeSettings) -> None:
    """Record the settings in the folder, or compare them with those that it was begun with."""
    path, wanted = folder / "settings.json", json.loads(json.dumps(asdict(settings)))
    if path.is_file() and json.loads(path.read_text()) != wanted:
        raise UsageError(f"{folder} belongs to other data or settings", "Repeat them, or give another --folder.")
    write_atomic(path, json.dumps(wanted).encode(), force=True)


class _timed:  # noqa: N801  a context manager, used as a function
    """Adds the seconds of the processor and of the clock that a step takes to `seconds.json`."""

    def __init__(self, folder: Path, step: str) -> None:
        self.path, self.step = folder / "seconds.json", step

    def __enter__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self.path.read_text())
        taken = [
            round(now - then, 1)
            for now, then in zip((time.perf_counter(), time.process_time()), self.began, strict=True)
        ]
        earlier = known.get(self.step, {"clock": 0.0, "processor": 0.0})
        known[self.step] = {"clock": earlier["clock"] + taken[0], "processor": earlier["processor"] + taken[1]}
        write_atomic(self.path, json.dumps(known, indent=1).encode(), force=True)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with write_file(path, force=True) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
