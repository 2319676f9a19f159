"""Costs of a cascade on a device: predicted by its hw profile, or measured there by `eetool profile`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eetool.errors import ArtefactError, MissingError
from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY
from eetool.latency.estimate.prediction_target import ONNX_FP32, Export, open_target, target_of_variant
from eetool.latency.estimate.predictor import PREDICTED, Predictor
from eetool.latency.estimate.recorded_model import RecordedModel
from eetool.latency.estimate.view_costs import VIEWS_NOTE, first_readers, later_views, views_warnings
from eetool.latency.table.hw_profile import HwProfile, load_device
from eetool.latency.table.table import backend_of
from eetool_measure.machine import Machine
from eetool_measure.results import EnergyTimes, ThreadTimes
from eetool_runtime.bundle import Bundle
from eetool_runtime.manifest import Measured


@dataclass(frozen=True)
class DeviceCosts:
    """Costs of leaving one variant of a model at each exit on one device, in `unit`.

    Attributes:
        provenance: `measured`, `predicted` or `estimated`.
        scope: scope of an energy; null for a latency.
        settings: figures of a measurement that a bundle keeps: name of the machine, threads and times.
        omitted: what the costs leave out, one line each.
    """

    device: str
    unit: str
    provenance: str
    scope: str | None
    costs: CascadeCosts
    settings: tuple[str, Measured] | None = None
    omitted: tuple[str, ...] = ()


class MeasuredProfile(Protocol):
    """Figures of an `eetool.profile.profiler.Profile`, which this package must not import."""

    @property
    def device(self) -> str:
        """Name of the device."""

    @property
    def provenance(self) -> str:
        """Provenance of the figures: `measured`."""

    @property
    def machine(self) -> Machine:
        """Machine that was measured."""

    @property
    def threads(self) -> int:
        """Number of threads."""

    @property
    def chosen(self) -> ThreadTimes:
        """Times with this number of threads."""

    @property
    def energy(self) -> EnergyTimes | None:
        """Energies; null where none were measured."""


def predicted_costs(
    path: Path,
    device: str | HwProfile,
    export: Export,
    variant: str = ONNX_FP32,
    unit: str = LATENCY,
    named: Sequence[str] = (),
    score: str | None = None,
) -> DeviceCosts:
    """Return the costs that the hw profile of `device` predicts for a bundle or a checkpoint, with one thread.

    Args:
        path: a bundle or a model.pt.
        device: name or file of a hw profile, or the profile.
        export: see `open_target`.
        variant: variant of the bundle.
        unit: `latency_ms` or `energy_mj`.
        named: factories that may be called, see `eetool.model.checkpoint.load_checkpoint`.
        score: gate score of a checkpoint, in place of that of its policy.

    Raises:
        ArtefactError: it is neither a bundle nor a checkpoint.
        MissingError: there is no such device, it has no table, or no figure of its energy is known.
    """
    profile = load_device(device) if isinstance(device, str) else device
    predictor = Predictor(profile, backend_of(variant), variant.split("/")[-1], threads=1)
    with open_target(path, export, named, score) as model:
        target = target_of_variant(model, variant, predictor.channel_block)
    if target.layout is None:
        raise ArtefactError(f"{path}: neither a model.pt nor a bundle", "tune takes these two.")
    graphs = {name: predictor.graph(name, kernels) for name, kernels in target.graphs.items()}
    price = predictor.cascade(target.layout, graphs)
    omitted = tuple(line for line in target.warnings if line == VIEWS_NOTE)
    if unit != ENERGY:
        return DeviceCosts(profile.name, unit, PREDICTED, None, price.costs[LATENCY], omitted=omitted)
    if ENERGY not in price.costs or price.energy_provenance is None:
        raise MissingError(
            f"nothing is known of the energy of {profile.name}",
            "Measure it: eetool profile --power METER, then --profile p.json.",
        )
    return DeviceCosts(
        profile.name, unit, price.energy_provenance, price.energy_scope, price.costs[ENERGY], omitted=omitted
    )


def measured_costs(
    profile: MeasuredProfile, where: Path, model: Bundle | RecordedModel, unit: str = LATENCY
) -> DeviceCosts:
    """Return the costs that `profile` measured of a model with these components.

    A component costs its own median and the runtime's time per component, as the whole cascade showed it. That time
    includes the effect of the caches. The first component that reads a later view of a picture is charged its making.

    Raises:
        ArtefactError: the profile is of other components.
        MissingError: it holds no energy.
    """
    if isinstance(model, Bundle):
        layout, macs = layout_of_manifest(model.manifest), {c.name: c.macs for c in model.manifest.components}
        inputs, read = model.manifest.inputs, {c.name: c.inputs for c in model.manifest.components}
    else:
        layout, macs = model.layout, model.macs
        inputs, read = model.inputs, model.read_inputs
    times = profile.chosen
    if {c.name: c.macs for c in times.components} != macs:
        raise ArtefactError(
            f"{where}: the profile is of other components than the model's",
            "Export the model, run `eetool profile` on that bundle, and give its document.",
        )
    settings = _settings(profile)
    if unit == ENERGY:
        energy = profile.energy
        known = {n: f.value for n, f in energy.components.items() if f.value is not None} if energy else {}
        if energy is None or set(known) != set(macs):
            raise MissingError(
                f"{where}: holds no energy of every component", "Measure it: eetool profile --power METER."
            )
        return DeviceCosts(
            *(profile.device, unit, energy.provenance, energy.scope, layout.arrange(known), settings),
            views_warnings(inputs),
        )
    gate_ms = max(times.cascade[-1].runtime_us_per_component.median, 0.0) / 1e3
    milliseconds = {c.name: c.latency_ms.median + gate_ms for c in times.components}
    making, omitted = {view.input: view.latency_ms.median for view in times.views}, tuple[str, ...]()
    for view, reader in first_readers(later_views(inputs), read).items():
        milliseconds[reader] += making.get(view, 0.0)
        omitted = omitted if view in making else views_warnings(inputs)
    return DeviceCosts(profile.device, unit, profile.provenance, None, layout.arrange(milliseconds), settings, omitted)


def _settings(profile: MeasuredProfile) -> tuple[str, Measured] | None:
    machine = profile.machine.board or profile.machine.cpu
    times = {c.name: c.latency_ms.median for c in profile.chosen.components}
    return (machine, Measured(profile.threads, times)) if machine else None
