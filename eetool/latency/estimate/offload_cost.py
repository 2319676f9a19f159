"""Cost of a cascade whose last components run on a server, as the device is charged for it.

An input that leaves on the device costs what ran there. Every other one costs that, the wait for the answer, and where
no answer comes, the rest of the cascade on the device as well:

    P(go on) · (E[min(T_off, timeout)] + p_fail · T_local)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts


@dataclass(frozen=True)
class CallCharge:
    """Mean cost of asking the server, in the unit of the other costs.

    Attributes:
        wait: E[min(T_off, timeout)], failed calls included.
        p_fail: share of the calls without an answer in time.
    """

    wait: float
    p_fail: float = 0.0


@dataclass(frozen=True)
class OffloadCosts(CascadeCosts):
    """Costs of a cascade on the device with a server behind one exit.

    The server computes all later exits at once, so that an input that is sent costs the device the same at each of
    them. Only after a failed call the device runs on, to the exit where the input leaves.

    Attributes:
        exits_here: number of exits on the device, before what is sent.
        sent: early exits on the device whose outputs are sent, so that they always run.
        asked: cost of asking the server.
        price: extra charge of each input that is sent, by which a limit of their share is kept.
    """

    exits_here: int = 0
    sent: frozenset[int] = frozenset()
    asked: CallCharge = CallCharge(0.0)
    price: float = 0.0

    def _costs(self, gated: tuple[bool, ...]) -> np.ndarray:
        local = super()._costs(gated)
        here = self._here(gated)
        total = np.empty_like(local)
        total[: self.exits_here] = here[: self.exits_here]
        boundary = here[-1]
        rest = np.maximum(local[self.exits_here :] - boundary, 0.0)
        total[self.exits_here :] = boundary + self.price + self.asked.wait + self.asked.p_fail * rest
        total.setflags(write=False)
        return total

    def _here(self, gated: tuple[bool, ...]) -> np.ndarray:
        """Return the cost on the device of leaving at each of its exits, and last that of everything before sending."""
        k = self.exits_here
        if k == 0:
            return np.zeros(1)
        runs = [gate or i in self.sent or i in self.read_later for i, gate in enumerate(gated[:k])]
        for later in reversed(range(min(k, len(self.reads)))):
            for earlier in self.reads[later] if runs[later] else ():
                runs[earlier] = True
        stretches = self._stretches_here(runs)
        heads = np.cumsum([cost if run else 0.0 for cost, run in zip(self.heads, runs, strict=False)])
        trunk = np.cumsum([cost if run else 0.0 for cost, run in zip(self.trunk, stretches, strict=False)])
        here = trunk + heads + (self.call if any(stretches) else 0.0)
        if self.cache is not None:
            never = [False] * (len(self.trunk) - k)
            here = here + self.cache.leaving([*runs, *never[1:]], [*stretches, *never])[:k]
        return np.array([*here, here[-1]])

    def _stretches_here(self, runs: Sequence[bool]) -> list[bool]:
        """Return which stretches run on the device: those before an exit that runs or before what is sent."""
        needed, stretches = self.exits_here not in self.restarts, list[bool]()
        for i in reversed(range(self.exits_here)):
            needed = needed or runs[i]
            stretches.insert(0, needed)
            needed = needed and i not in self.restarts
        return stretches


def with_server(
    local: CascadeCosts, exits_here: int, sent: frozenset[int], asked: CallCharge, price: float = 0.0
) -> OffloadCosts:
    """Return the costs of a cascade with a server from those on the device alone; see `OffloadCosts`."""
    fields = {
        name: getattr(local, name) for name in ("trunk", "heads", "read_later", "reads", "cache", "restarts", "call")
    }
    return OffloadCosts(**fields, exits_here=exits_here, sent=sent, asked=asked, price=price)
