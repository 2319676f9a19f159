"""What components cost on a device: predicted by its hw profile, or measured there by `eetool profile`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eetool.errors import ArtefactError, MissingError
from eetool.latency.estimate.prediction_target import open_target, target_of_variant
from eetool.latency.estimate.predictor import PREDICTED, Predictor
from eetool.latency.table.hw_profile import load_device
from eetool.latency.table.table import BACKENDS
from eetool.profile.profiler import Profile
from eetool.tune.exit_costs import CascadeCosts, component_costs
from eetool_runtime.manifest import Manifest, Measured

LATENCY, ENERGY = "latency_ms", "energy_mj"
ONNX_FP32 = "onnx/fp32"


@dataclass(frozen=True)
class ComponentCosts:
    """Cost of every component of one variant on one device, in `unit`: its graph, its dispatch, and the gate behind it.

    `provenance` is `measured`, `predicted` or `estimated`; `scope` is that of an energy. `manifest` wires the
    components. `settings` are what a bundle keeps of a measurement: name of the machine, threads and times.
    """

    device: str
    unit: str
    provenance: str
    scope: str | None
    components: dict[str, float]
    manifest: Manifest
    settings: tuple[str, Measured] | None = None

    def costs(self, like: CascadeCosts) -> CascadeCosts:
        """Arranged by exit; which heads read which is as in `like`."""
        found = component_costs(self.manifest, self.components)
        return replace(found, read_later=like.read_later, reads=like.reads)


def predicted_costs(
    path: Path, device: str, variant: str = ONNX_FP32, unit: str = LATENCY, named: Sequence[str] = ()
) -> ComponentCosts:
    """What the hw profile of `device` says of a bundle, or of the bundle that a checkpoint makes; one thread.

    Raises:
        MissingError: there is no such device, it has no table, or nothing is known of its energy.
    """
    profile = load_device(device)
    graph_format, precision = variant.split("/")[0], variant.split("/")[-1]
    predictor = Predictor(profile, BACKENDS[graph_format], precision, threads=1)
    with open_target(path, named) as found:
        subject = target_of_variant(found, variant, predictor.channel_block)
        if subject.manifest is None:
            raise ArtefactError(f"{path}: neither a model.pt nor a bundle", "tune takes these two.")
        manifest = subject.manifest
        graphs = {name: predictor.graph(name, kernels) for name, kernels in subject.graphs.items()}
    if unit == ENERGY:
        energies = [graph.energy_mj for graph in graphs.values()]
        known = {name: graph.energy_mj.value for name, graph in graphs.items() if graph.energy_mj.value is not None}
        provenance, scope = energies[0].provenance, energies[0].scope
        if len(known) < len(graphs) or provenance is None:
            raise MissingError(
                f"nothing is known of the energy of {profile.name}",
                "Measure it: eetool profile --power METER, then --profile p.json.",
            )
        return ComponentCosts(profile.name, unit, provenance, scope, known, manifest)
    composition = predictor.book.composition
    milliseconds = {name: graph.latency_ms + composition.runtime_ms for name, graph in graphs.items()}
    milliseconds[next(iter(milliseconds))] += composition.call_ms  # once for every input
    return ComponentCosts(profile.name, unit, PREDICTED, None, milliseconds, manifest)


def measured_costs(
    profile: Profile, where: Path, manifest: Manifest, unit: str = LATENCY, named: Sequence[str] = ()
) -> ComponentCosts:
    """What was measured of a bundle with these components.

    Raises:
        ArtefactError: the profile is of other components.
        MissingError: it holds no energy.
    """
    times = profile.chosen
    macs = {c.name: c.macs for c in manifest.components}
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
        return ComponentCosts(profile.device, unit, energy.provenance, energy.scope, known, manifest, settings)
    gate_ms = max(times.cascade[-1].runtime_us_per_component.median, 0.0) / 1e3
    milliseconds = {c.name: c.latency_ms.median + gate_ms for c in times.components}
    return ComponentCosts(profile.device, unit, profile.provenance, None, milliseconds, manifest, settings)


def _settings(profile: Profile) -> tuple[str, Measured] | None:
    machine = profile.machine.board or profile.machine.cpu
    times = {c.name: c.latency_ms.median for c in profile.chosen.components}
    return (machine, Measured(profile.threads, times)) if machine else None
