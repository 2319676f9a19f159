"""Published weights of Once-for-All's MobileNetV3 (arXiv 1908.09791), renamed to the names of eetool.

`ofa_mbv3_d234_e346_k357_w1.0` is a state dict, alone or under `state_dict`. Its blocks are numbered consecutively:
block 0 is fixed, and every further stage has four. Older and newer files have different names inside a block.
"""

import re
from pathlib import Path

from torch import Tensor

from eetool.errors import ArtefactError
from eetool.model.supernet import Supernet
from eetool.model.weight_values import convert
from eetool.model.weights import read_tensors
from eetool.progress import SILENT, Progress

_BLOCKS_PER_STAGE = 4
_CLASSIFIER = "classifier.layers.3."
# Beginning of a name in the file, and in eetool; the rest of the name is the same.
_NAMES = (
    (r"first_conv\.conv\.", "stem.conv."),
    (r"first_conv\.bn\.", "stem.norm."),
    (r"final_expand_layer\.conv\.", "last.conv."),
    (r"final_expand_layer\.bn\.", "last.norm."),
    (r"feature_mix_layer\.conv\.", "classifier.layers.0."),
    (r"classifier\.(?:linear\.)+", _CLASSIFIER),
)
_INSIDE = (
    (r"inverted_bottleneck\.(?:conv\.)+(?=weight)", "expand.conv."),
    (r"inverted_bottleneck\.(?:bn\.)+", "expand.norm."),
    (r"depth_conv\.(?:bn\.)+", "depthwise.norm."),
    (r"depth_conv\.se\.fc\.reduce\.(?:conv\.)?", "squeeze.layers.1."),
    (r"depth_conv\.se\.fc\.expand\.(?:conv\.)?", "squeeze.layers.3."),
    (r"depth_conv\.(?:conv\.)+(?=weight)", "depthwise.conv."),
    (r"point_linear\.(?:conv\.)+(?=weight)", "project.conv."),
    (r"point_linear\.(?:bn\.)+", "project.norm."),
)


def load_ofa(supernet: Supernet, path: Path, progress: Progress = SILENT) -> None:
    """Load the weights in `path` into a supernet of the space `mobilenetv3`.

    The classifier keeps its fresh weights where it is for another number of classes.

    Raises:
        ArtefactError: the file cannot be read, a tensor of the supernet is missing in it or has another shape, or its
            values cannot be computed with, see `eetool.model.weight_values`.
    """
    read = read_tensors(path, lambda name: _renamed(name) is not None)
    stored = {name: tensor for old, tensor in read.items() if (name := _renamed(old)) is not None}
    expected = supernet.state_dict()
    for name, tensor in list(stored.items()):
        wanted = expected.get(f"network.{name}")
        if wanted is not None and tensor.ndim == 4 and wanted.ndim == 2:  # a 1×1 convolution is a linear layer here
            stored[name] = tensor.flatten(1)  # (O, I, 1, 1) -> (O, I)
    full = {name if name.startswith("steps.") else f"network.{name}": tensor for name, tensor in stored.items()}
    state: dict[str, Tensor] = {}
    for name, tensor in expected.items():
        is_classifier = name.startswith(f"network.{_CLASSIFIER}")
        loaded = full.get(name)
        if loaded is None and (name.endswith(".num_batches_tracked") or name == "network.classifier.layers.0.bias"):
            loaded = tensor.new_zeros(tensor.shape)
        elif loaded is not None and loaded.shape != tensor.shape and is_classifier:
            loaded = tensor
        if loaded is None or loaded.shape != tensor.shape:
            what = "lacks" if loaded is None else f"has another shape ({tuple(loaded.shape)}) of"
            raise ArtefactError(
                f"{path} {what} the tensor {name.removeprefix('network.')} {tuple(tensor.shape)}",
                "Weights of ofa_mbv3_d234_e346_k357_w1.0 fit the space mobilenetv3.",
            )
        state[name] = loaded
    tensors, notes = convert(state, expected, str(path))
    for note in notes:
        progress.note(f"{path}: {note}")
    supernet.load_state_dict({**expected, **tensors})


def _renamed(name: str) -> str | None:
    """Return the name of a tensor in eetool, None for one that eetool has no use for."""
    block = re.fullmatch(r"blocks\.([0-9]+)\.(?:mobile_inverted_conv|conv)\.(.+)", name)
    if block is None:
        return next((re.sub(f"^{old}", new, name) for old, new in _NAMES if re.match(old, name)), None)
    number = int(block[1])
    stage, index = divmod(number - 1, _BLOCKS_PER_STAGE) if number else (-1, 0)
    place = f"stage{stage + 1}.{index}"
    step = re.fullmatch(r"depth_conv\.(?:conv\.)?[0-9]to([0-9])_matrix", block[2])
    if step is not None:
        return f"steps.{place.replace('.', '/')}/depthwise/conv/weight/{step[1]}"
    inside = next((re.sub(f"^{old}", new, block[2]) for old, new in _INSIDE if re.match(old, block[2])), None)
    return None if inside is None else f"{place}.{inside}"
