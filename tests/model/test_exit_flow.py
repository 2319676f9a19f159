"""What each exit needs: operations, MACs, and tensors that are overwritten."""

import pytest
import torch
from torch import Tensor, nn

from eetool.model.early_exit import EarlyExitNet
from eetool.model.ensemble import Ensemble
from eetool.model.exit_flow import measure_exit_macs, record_flow
from eetool.model.macs import count_macs
from tests.helpers import networks


@pytest.mark.parametrize("name", sorted(networks.BUILDERS))
def test_measure_exit_macs_parts_of_attached_exits_add_up_to_the_whole(name: str) -> None:
    case = networks.build(name)
    inputs = tuple(case.inputs(1).values())
    macs = measure_exit_macs(case.net.net, inputs)
    assert macs.backbone == count_macs(case.net.net.backbone, inputs)
    assert sum(macs.trunk) + sum(macs.heads) == count_macs(case.net.net, inputs)


class Unused(nn.Module):
    """Computes a second classifier that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.tap, self.out, self.unused = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 50)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(x)
        self.unused(x)
        return self.out(x)


def test_measure_exit_macs_unused_operations_cost_nothing() -> None:
    macs = measure_exit_macs(EarlyExitNet(Unused(), {"tap": nn.Linear(8, 3)}), (torch.zeros(1, 6),))
    assert (macs.trunk, macs.heads) == ((48, 24), (24,))
    assert (macs.read_later, macs.reads) == (frozenset(), ())


def test_measure_exit_macs_ensemble_reads_the_exit_before() -> None:
    net = EarlyExitNet(
        nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))),
        {str(i): nn.Linear(4, 4) for i in range(3)},
        [Ensemble(4), Ensemble(4)],
    )
    macs = measure_exit_macs(net, (torch.zeros(1, 4),))
    assert macs.reads == (frozenset(), {0}, {1})
    assert macs.read_later == frozenset()


def test_record_flow_overwritten_tensor_is_another_one() -> None:
    """What an exit has read is not what is written over it later."""

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.first(x)
            early = x * 2
            x[:, :2].mul_(self.second(x)[:, :2])
            return early, x + 1

    net, x = Overwriting(), torch.ones(1, 4)
    flow = record_flow(net, (x,), lambda: [[y] for y in net(x)])
    assert flow.macs().trunk == (16, 16), "the exit does not need the second layer"
    assert (flow.layers(0), flow.layers(1)) == (1, 2)
