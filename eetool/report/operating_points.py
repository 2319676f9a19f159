"""The positions of the knob: operating points and static nets with all that is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.profile.profiler import Profile
from eetool.report.inputs import ReportInputs

UNSPLIT, FULL = "unsplit", "full"


@dataclass(frozen=True)
class ReportPoint:
    """One net of the comparison; latencies are null, and `measured` false, where only expected figures are known."""

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

    @property
    def static(self) -> bool:
        """Whether it is no early exit: the unsplit backbone, or a net to compare with."""
        return self.exit_shares is None

    @property
    def measured(self) -> bool:
        """Whether its latency was measured."""
        return self.mean_ms is not None


def report_points(material: ReportInputs) -> list[ReportPoint]:
    """Every net that is known, from the bench, or else as the operating points were fitted."""
    bench = material.bench
    if bench is not None:
        profile = fitting_profile(material)
        return [
            ReportPoint(
                name=p.name,
                accuracy=p.accuracy,
                n=p.n,
                mean_ms=p.latency_ms.mean,
                p99_ms=p.latency_ms.p99,
                energy_mj=p.energy_mj
                if p.energy_mj.value is not None
                else _energy(profile, bench.threads, p.name, p.exit_shares),
                exit_shares=p.exit_shares,
                mean_macs=p.mean_macs,
                compute_saved=p.compute_saved,
                exits_by_class=p.exits_by_class,
            )
            for p in bench.points
        ]
    expected = {name: p.expected for name, p in material.operating_points.items()}
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
        )
        for name, e in expected.items()
        if e is not None
    ]


def slider_points(found: Sequence[ReportPoint]) -> list[ReportPoint]:
    """The operating points, from the costliest to the cheapest."""
    points = [s for s in found if not s.static]
    return sorted(points, key=lambda s: -(s.mean_macs or 0.0))  # always known of a bundle, and never noisy


def initial_point(material: ReportInputs, positions: Sequence[ReportPoint]) -> str:
    """Where the knob stands at first: at the point that was judged, else at the bundle's default."""
    names = [s.name for s in positions]
    wanted = None
    if material.bench is not None:
        wanted = material.bench.verdict.point
    elif material.bundle is not None:
        wanted = material.bundle.manifest.default_operating_point
    return wanted if wanted in names else (names or [FULL])[-1]


def fitting_profile(material: ReportInputs) -> Profile | None:
    """The profile, if it is of the bundle, variant and thread count that were benched."""
    profile, bench = material.profile, material.bench
    if profile is None or bench is None:
        return profile
    same = (profile.bundle.name, profile.variant) == (bench.bundle, bench.variant)
    return profile if same and any(t.threads == bench.threads for t in profile.thread_counts) else None


def _energy(profile: Profile | None, threads: int, name: str, shares: tuple[float, ...] | None) -> Energy:
    """Mean energy of a net: what the profile says of leaving at each exit, by the shares that the bench counted."""
    energy = profile.energy if profile is not None else None
    if energy is None or energy.threads != threads:
        return UNKNOWN
    if name == FULL:
        value = energy.full.value
    elif shares is None:
        value = energy.references[name].value if name in energy.references else None
    else:
        parts = [(share, e.value) for share, e in zip(shares, energy.cascade, strict=True) if share > 0]
        known = [share * mj for share, mj in parts if mj is not None]
        value = sum(known) if len(known) == len(parts) else None
    return Energy(value, energy.provenance, energy.scope) if value is not None else UNKNOWN
