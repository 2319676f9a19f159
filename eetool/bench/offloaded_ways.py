"""Ways of a bundle that asks a server: its operating points of one variant, with real calls."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.example_forms import ModelInput
from eetool.bench.predictions import WayPredictions
from eetool.bench.way_sets import OpenedWays, SetPredictions, WayNotRun, Ways
from eetool.bench.ways import EARLY_EXIT, CascadeWay, WayLabel
from eetool.errors import MissingError, UsageError
from eetool.export.offload.costs_file import read_forecasts
from eetool.latency.estimate.cascade_price import LATENCY
from eetool_runtime import load
from eetool_runtime.backends import PROCESS
from eetool_runtime.bundle import Bundle
from eetool_runtime.manifest_offload import OffloadSpec
from eetool_runtime.offload import Offload
from eetool_runtime.offload.model import OffloadingModel

SUFFIX = " + server"
_ANSWERED = "ok"


@dataclass(frozen=True)
class OffloadedFigures:
    """Predicted and measured latency of an operating point with a server.

    Attributes:
        name: of the way.
        predicted_ms: mean latency that `tune --link` charged; null where it did not.
        measured_ms: mean latency.
        wanted: share of the inputs that wanted the server's answer.
        answered: share of these that got it; null where there were none.
        failures: number of the others by outcome.
    """

    name: str
    predicted_ms: float | None
    measured_ms: float
    wanted: float
    answered: float | None
    failures: dict[str, int]


@dataclass(frozen=True)
class OffloadBench:
    """Ways that ask a server.

    Attributes:
        url_host: host and port of the server.
        timeout_ms: of every call.
        fallback: what comes after a failed call, `local` or `best`.
        ways: their figures.
    """

    url_host: str
    timeout_ms: float
    fallback: str
    ways: tuple[OffloadedFigures, ...]


class OffloadedWays(OpenedWays):
    """Operating points of one variant that ask a server; those that never do are left out.

    Attributes:
        outcomes: number of inputs by outcome of the server, by name of the way; known after `predict`.
    """

    required = True

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        inputs: Sequence[ModelInput],
        threads: int,
        offload: Offload,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.path, self.format = bundle.path, variant.split("/")[0]
        self._bundle, self._variant, self._inputs = bundle, variant, inputs
        self._threads, self._offload = threads, offload
        asking = _spec(bundle, variant).variants[variant].operating_points
        self.labels: Sequence[WayLabel] = [
            WayLabel(f"{prefix}{name}{SUFFIX}", EARLY_EXIT, variant, name) for name in asking
        ]
        points = bundle.variant(variant).operating_points
        self.skipped = [
            WayNotRun(f"{prefix}{name}{SUFFIX}", "it never asks the server, because that would not pay")
            for name in points
            if name not in asking
        ]
        self.graphs_bytes = bundle.size_bytes(graph.path for graph in bundle.variant(variant).components.values())
        self.outcomes: dict[str, Counter[str | None]] = {}

    def _open(self) -> Ways:
        if not self.labels:
            return []
        model = load(self._bundle, threads=self._threads, pool=PROCESS, variant=self._variant, offload=self._offload)
        assert isinstance(model, OffloadingModel)
        model.load_tail()
        model.check_server()
        return [CascadeWay(label, model, self._inputs) for label in self.labels]

    def predict(self) -> SetPredictions:
        """Return the predictions of every way from one call for each input.

        Raises:
            MissingError: the server answered no call.
        """
        predictions = {}
        with self.opened() as ways:
            for way in ways:
                assert isinstance(way, CascadeWay)
                way.prepare([0])
                results = [way.answer(i) for i in range(len(self._inputs))]
                self.outcomes[way.name] = Counter(result.offload for result in results)
                predictions[way.name] = WayPredictions(
                    np.array([result.index for result in results]),
                    np.array([float(result.probabilities.max()) for result in results]),
                    np.array([result.exit for result in results]),
                )
        wanted = sum((counts for counts in self.outcomes.values()), Counter[str | None]())
        del wanted[None]
        if wanted and not wanted[_ANSWERED]:
            kinds = ", ".join(f"{kind} {count}" for kind, count in wanted.items())
            server = self._offload.endpoint.host_and_port
            raise MissingError(f"{server} answered no call ({kinds})", "`eetool profile BUNDLE --link URL` says why.")
        return SetPredictions(predictions)


def offloaded_figures(sets: Sequence[object], mean_ms: Mapping[str, float], bundle: Bundle) -> list[OffloadedFigures]:
    """Return predicted and measured latencies of all ways that ask a server.

    Args:
        sets: those of the benchmark.
        mean_ms: measured mean latency by name of the way.
        bundle: the bundle, which may have a forecast.
    """
    forecasts, figures = read_forecasts(bundle), []
    for one in (one for one in sets if isinstance(one, OffloadedWays)):
        for label in one.labels:
            outcomes = dict(one.outcomes[label.name])
            n, alone = sum(outcomes.values()), outcomes.pop(None, 0)
            answered = outcomes.pop(_ANSWERED, 0)
            forecast = forecasts.get(str(label.variant))
            known = forecast is not None and forecast.unit == LATENCY
            choice = forecast.points.get(str(label.operating_point)) if forecast is not None and known else None
            figures.append(
                OffloadedFigures(
                    label.name,
                    None if choice is None else choice.link_up,
                    mean_ms[label.name],
                    (n - alone) / n,
                    answered / (n - alone) if n > alone else None,
                    {str(kind): count for kind, count in outcomes.items()},
                )
            )
    return figures


def _spec(bundle: Bundle, variant: str) -> OffloadSpec:
    spec = bundle.manifest.offload
    if spec is None or variant not in spec.variants:
        raise UsageError(
            f"{bundle.path} asks no server from {variant}",
            f"Export what lies behind an exit first: eetool export {bundle.path} --offload K --wire WIRE "
            "--repository DIR.",
        )
    return spec
