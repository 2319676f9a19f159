"""Built-in network that an advice suggests beside a larger one."""

from eetool.data.source import Source
from eetool.model.macs import count_macs
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.resolve import build_raw, resolve

_NETWORKS = ("resnet8", "mobilenetv3-small")
_SHARE = 0.5  # of the MACs of the larger network, at most


def smaller_network(source: Source, macs: float) -> str | None:
    """Return a network for the images of `source` with at most half of `macs` at their size; None without one."""
    if not source.are_pixels:
        return None
    for name in _NETWORKS:
        reference = resolve(name, (1, *source.inputs.shape[1:]), len(source.classes))
        net = build_raw(reference.backbone, reference.inputs, reference.classes, reference.config).eval()
        if count_macs(net, example_inputs(reference.inputs)) <= _SHARE * macs:
            return name
    return None
