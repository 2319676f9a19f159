"""Rows of the comparison and positions of the operating-point slider, with all known figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.bench.results import WayRow
from eetool.bench.ways import EARLY_EXIT, UNSPLIT
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.profile.profiler import Profile
from eetool.report.inputs import ReportInputs

FULL = "full"


@dataclass(frozen=True)
class ReportPoint:
    """One operating point or static network; latencies are None where only expected figures are known.

    `variant` and `operating_point` are None where they are not known or there is none; `front` as in a benchmark.
    """

    name: str
    accuracy: float
    n: int
    mean_ms: float | None
    p99_ms: float | None
    energy_mj: Energy
    exit_shares: tuple[float, ...] | None
    mean_macs: float | None
    compute_saved: float | None
    exits_by_class: tuple[tuple[int, ...], ...] | None = None
    kind: str = EARLY_EXIT
    variant: str | None = None
    operating_point: str | None = None
    front: bool | None = None

    @property
    def static(self) -> bool:
        """True for a network without early exits: the unsplit backbone, or a network compared with it."""
        return self.exit_shares is None

    @property
    def measured(self) -> bool:
        """True where the latency was measured."""
        return self.mean_ms is not None


def report_points(inputs: ReportInputs) -> list[ReportPoint]:
    """Return all rows of the benchmark, or without one the operating points as fitted."""
    bench = inputs.bench
    if bench is not None:
        profile = matching_profile(inputs)
        return [
            ReportPoint(
                name=p.name,
                accuracy=p.accuracy,
                n=p.n,
                mean_ms=p.latency_ms.mean,
                p99_ms=p.latency_ms.p99,
                energy_mj=p.energy_mj if p.energy_mj.value is not None else _energy(profile, bench.threads, p),
                exit_shares=p.exit_shares,
                mean_macs=p.mean_macs,
                compute_saved=p.compute_saved,
                exits_by_class=p.exits_by_class,
                kind=p.kind,
                variant=p.variant,
                operating_point=p.operating_point,
                front=p.front,
            )
            for p in bench.ways
        ]
    expected = {name: p.expected for name, p in inputs.operating_points.items()}
    full = max((e.mean_macs for e in expected.values() if e is not None), default=0.0)
    return [
        ReportPoint(
            name=name,
            accuracy=e.accuracy,
            n=e.n,
            mean_ms=None,
            p99_ms=None,
            energy_mj=UNKNOWN,
            exit_shares=e.exit_shares,
            mean_macs=e.mean_macs,
            compute_saved=1 - e.mean_macs / full if full else None,
            operating_point=name,
        )
        for name, e in expected.items()
        if e is not None
    ]


def slider_points(inputs: ReportInputs, points: Sequence[ReportPoint]) -> list[ReportPoint]:
    """Return the operating points of the variant of the verdict, the most expensive first."""
    variant = inputs.bench.judged_variant if inputs.bench is not None else None
    early_exit = [point for point in points if not point.static and point.variant == variant]
    return sorted(early_exit, key=lambda point: -(point.mean_macs or 0.0))  # MACs are exact, and known of every bundle


def initial_point(inputs: ReportInputs, positions: Sequence[ReportPoint]) -> str:
    """Return the initial position of the slider: the judged operating point, else the bundle's default."""
    names = [point.name for point in positions]
    name = None
    if inputs.bench is not None:
        name = inputs.bench.verdict.way
    elif inputs.bundle is not None:
        name = inputs.bundle.manifest.default_operating_point
    return name if name in names else (names or [FULL])[-1]


def matching_profile(inputs: ReportInputs) -> Profile | None:
    """Return the profile if it is of the benchmarked bundle, one of its variants and the thread count."""
    profile, bench = inputs.profile, inputs.bench
    if profile is None or bench is None:
        return profile
    same = profile.bundle.name == bench.bundle and profile.variant in bench.variants
    return profile if same and any(t.threads == bench.threads for t in profile.thread_counts) else None


def _energy(profile: Profile | None, threads: int, way: WayRow) -> Energy:
    """Return the mean energy of one row: energies of the profile by exit, weighted with the exit shares."""
    energy, shares = profile.energy if profile is not None else None, way.exit_shares
    if energy is None or profile is None or energy.threads != threads or way.variant != profile.variant:
        return UNKNOWN
    if way.operating_point == FULL:
        value = energy.full.value
    elif shares is None:
        known_kind = way.kind == UNSPLIT and UNSPLIT in energy.references
        value = energy.references[UNSPLIT].value if known_kind else None
    else:
        parts = [(share, e.value) for share, e in zip(shares, energy.cascade, strict=True) if share > 0]
        known = [share * mj for share, mj in parts if mj is not None]
        value = sum(known) if len(known) == len(parts) else None
    return Energy(value, energy.provenance, energy.scope) if value is not None else UNKNOWN
