"""Tuning of a bundle that may ask a server: for every operating point the server or the device alone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.data.source import Source
    from eetool.export.offload.costs_file import OffloadForecast
    from eetool.latency.estimate.link import Link
    from eetool.latency.estimate.offload_cost import CallCharge, OffloadCosts
    from eetool.model.goals import TuningGoals
    from eetool.tune.device_costs import DeviceCosts
    from eetool_runtime import Bundle
    from eetool_runtime.manifest import Manifest
    from eetool_runtime.manifest_offload import OffloadPoint

_ENERGY = "energy_mj"


@dataclass(frozen=True)
class LinkOrder:
    """Measured link by which a choice is made.

    Attributes:
        document: of `eetool profile --link`.
        max_share: largest share of the inputs that may be sent.
        timeout_ms: of every call.
    """

    document: Path
    max_share: float | None = None
    timeout_ms: float = 40.0


@dataclass(frozen=True)
class OffloadTuning:
    """Choice between server and device, and the points that ask the server.

    Attributes:
        forecast: the choices.
        points: those that ask the server.
        sent_bytes: of one input; None where a size is free.
        power_save: of the Wi-Fi interface during the measurement.
        max_share: largest share of the inputs that may be sent.
        warnings: goals that are not kept with the server, one line each.
    """

    forecast: "OffloadForecast"
    points: "dict[str, OffloadPoint]"
    sent_bytes: int | None
    power_save: str | None
    max_share: float | None
    warnings: tuple[str, ...] = ()


def read_link(order: LinkOrder, bundle: "Bundle") -> "Link":
    """Return the link that was measured for the server's model of `bundle`.

    Raises:
        ArtefactError: the document is damaged, or of another model or other sizes.
        UsageError: the bundle has no server.
    """
    from eetool.export.offload.cut import sent_bytes
    from eetool.latency.estimate.link import SCHEMA, Link, invalid_link
    from eetool.records import read_record

    spec = bundle.manifest.offload
    if spec is None:
        raise UsageError(
            f"{bundle.path} asks no server, so --link has no use",
            f"Cut it first: eetool export {bundle.path} --offload K --wire WIRE --repository DIR.",
        )
    link = read_record(Link, order.document, SCHEMA)
    problem, remedy = invalid_link(link), f"Measure it: eetool profile {bundle.path} --link URL -o link.json."
    if problem is None and link.model != spec.model:
        problem = f"was measured for the model {link.model}, and {bundle.path} asks {spec.model}"
    wanted = sent_bytes(bundle.manifest)
    if problem is None and wanted is not None and link.one_input.bytes != wanted:
        problem = f"has times of {link.one_input.bytes} bytes, and {bundle.path} sends {wanted} per input"
    if problem is not None:
        raise ArtefactError(f"{order.document}: {problem}", remedy)
    if order.timeout_ms > link.timeout_ms:
        raise UsageError(
            f"a timeout of {order.timeout_ms:g} ms: {order.document} knows of no answer after {link.timeout_ms:g} ms",
            "Give less, or measure the link with a longer --offload-timeout-ms.",
        )
    return link


def tune_offload(
    bundle: "Bundle",
    manifest: "Manifest",
    variant: str,
    goals: "TuningGoals",
    costs: "DeviceCosts",
    source: "Source",
    order: LinkOrder,
    progress: Progress,
) -> "tuple[Manifest, OffloadTuning]":
    """Return `manifest` with the operating points of `variant` that ask the server, and the choice for each.

    Args:
        bundle: an opened bundle.
        manifest: its manifest after the fit without a server.
        variant: the variant that was tuned.
        goals: goals of the fit.
        costs: costs on the device.
        source: the data that the bundle records.
        order: the link.
        progress: observer.

    Raises:
        ArtefactError: the link is of another model, or the variant cannot be offloaded.
        MissingError: energies are minimised, and the link's is not known.
    """
    from eetool.export.offload.costs_file import OffloadForecast
    from eetool.export.offload.cut import find_cut, sent_bytes
    from eetool.export.offload.policy import OffloadFit, sent_exits
    from eetool.latency.estimate.offload_cost import with_server
    from eetool.tune.calibration import Calibration
    from eetool.tune.offload_choice import choose_offload

    link, spec = read_link(order, bundle), manifest.offload
    assert spec is not None  # `read_link` refuses a bundle without a server
    if variant not in spec.variants:
        raise ArtefactError(f"{variant} of {bundle.path} cannot be offloaded: its tensors are not those of the server")
    timeout_ms = order.timeout_ms
    cut, asked = find_cut(manifest, spec.after_exit), _asked(link, costs.unit, timeout_ms)
    together = with_server(costs.costs, cut.exits_here, sent_exits(manifest, cut), asked)
    fitted = manifest.variants[variant]
    own = Calibration(fitted.temperatures, fitted.slopes, fitted.offsets)
    fit = OffloadFit(bundle, variant, cut, spec.inputs, source, progress)
    offers: dict[str, list[OffloadPoint]] = {name: [] for name in fitted.operating_points}
    warnings: dict[str, None] = {}
    for priced in _prices(together, order.max_share):
        policy, tuned = fit.fit(goals, fitted.operating_points, priced, own)
        warnings.update(dict.fromkeys(tuned.warnings))
        for name, point in policy.operating_points.items():
            offers.setdefault(name, []).append(point)
    chosen, decisions = choose_offload(fitted.operating_points, offers, costs.costs, together, order.max_share)
    policies = {**spec.variants, variant: replace(policy, operating_points=chosen)}
    forecast = OffloadForecast(costs.device, costs.unit, link.url_host, timeout_ms, asked.wait, asked.p_fail, decisions)
    tuning = OffloadTuning(forecast, chosen, sent_bytes(manifest), link.power_save, order.max_share, tuple(warnings))
    return replace(manifest, offload=replace(spec, variants=policies)), tuning


def keep_server(manifest: "Manifest", variant: str) -> "tuple[Manifest, tuple[str, ...]]":
    """Return a manifest whose variant was tuned without a link, and a warning where it asks a server.

    The exits on the device have one calibration, with and without a server.
    """
    spec = manifest.offload
    if spec is None or variant not in spec.variants:
        return manifest, ()
    policy, fitted, k = spec.variants[variant], manifest.variants[variant], spec.first_exit
    changed = replace(
        policy,
        temperatures=(*fitted.temperatures[:k], *policy.temperatures[k:]),
        slopes=(*fitted.slopes[:k], *policy.slopes[k:]),
        offsets=(*fitted.offsets[:k], *policy.offsets[k:]),
    )
    warning = f"the points of {variant} with a server keep their earlier thresholds: tune them with --link link.json"
    return replace(manifest, offload=replace(spec, variants={**spec.variants, variant: changed})), (warning,)


def _prices(together: "OffloadCosts", max_share: float | None) -> "list[OffloadCosts]":
    """Return the costs to fit with: with a limit of the share also with extra charges of what is sent."""
    from eetool.tune.offload_choice import PRICES

    if max_share is None:
        return [together]
    whole = float(together.leaving((None,) * together.early)[-1])
    return [replace(together, price=price * whole) for price in PRICES]


def _asked(link: "Link", unit: str, timeout_ms: float) -> "CallCharge":
    """Return the mean cost of asking the server, in the unit of the costs on the device."""
    from eetool.latency.estimate.link import offload_call

    call = offload_call(link.one_input, timeout_ms)
    if unit != _ENERGY:
        return call
    if link.energy_mj is None:
        raise MissingError(
            f"the energy of asking {link.url_host} is not known: it was not measured",
            "Minimise latency, with --max-latency-ms or without a budget.",
        )
    return replace(call, wait=link.energy_mj)
