"""Another normalisation of pixels folded into the weights of the first convolution, where that is exact."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.exit_flow import record_flow
from eetool.model.network_cascade import pixel_map
from eetool.model.references.example_inputs import example_inputs
from eetool_runtime.manifest import Preprocess


def fold_normalisation(network: Checkpoint, given: Preprocess) -> Checkpoint:
    """Return `network` with weights for pixels that are normalised by `given`; itself where it cannot be so.

    Padding with zeros stands for another pixel after a shift, and a shift needs a bias to be added to. Without a shift
    every convolution that alone reads the input can be scaled.
    """
    item = network.record.spec.inputs[0]
    own = item.preprocess
    if own is None or (own.scale, own.mean, own.std) == (given.scale, given.mean, given.std):
        return network
    scale, shift = pixel_map(given, own)
    net = network.build()
    name, layer = _first_convolution(net, example_inputs(network.record.spec.inputs))
    if layer is None or (bool(shift.any()) and (layer.bias is None or _pads(layer))):
        return network
    weight = layer.weight.detach().double()
    state = {**network.state, f"{name}.weight": (weight * scale[:, None, None]).float()}  # (O, C, H, W)
    if layer.bias is not None:
        more = (weight * shift[:, None, None]).sum((1, 2, 3))  # (O, C, H, W) -> (O,)
        state[f"{name}.bias"] = (layer.bias.detach().double() + more).float()
    rule = replace(own, scale=given.scale, mean=given.mean, std=given.std)
    spec = replace(network.record.spec, inputs=(replace(item, preprocess=rule), *network.record.spec.inputs[1:]))
    return replace(network, record=replace(network.record, spec=spec), state=state)


def _pads(layer: nn.Conv2d) -> bool:
    return layer.padding not in ("valid", (0, 0), 0)


def _first_convolution(net: EarlyExitNet, inputs: tuple[Tensor, ...]) -> tuple[str, nn.Conv2d | None]:
    """Return the name and module of the convolution that alone reads the first input, once, with weights of its own."""
    readers: list[tuple[str, nn.Conv2d]] = []
    image = inputs[0]

    def watch(name: str, layer: nn.Conv2d) -> None:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            if arguments and arguments[0].data_ptr() == image.data_ptr() and arguments[0].shape == image.shape:
                readers.append((name, layer))

        handles.append(layer.register_forward_pre_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in net.named_modules():
        if type(module) is nn.Conv2d and module.groups == 1 and "weight" in dict(module.named_parameters()):
            watch(name, module)
    try:
        flow = record_flow(net, inputs, lambda: [[x] for x in net(*inputs)])
    finally:
        for handle in handles:
            handle.remove()
    addresses = {address for address, _ in flow.inputs}
    reading = [x for x in flow.operations if addresses & {address for address, _ in x.reads}]
    if len(readers) != 1 or len(reading) != 1:
        return "", None
    name, layer = readers[0]
    weight = int(layer.weight.untyped_storage()._cdata)
    shared = sum(weight in {address for address, _ in x.reads} for x in flow.operations) > 1
    return (name, None) if shared else (name, layer)
