"""Built-in search spaces, and loading of `package.module:space` for the user's own."""

import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eetool.errors import UsageError
from eetool.model.backbones.layers import round_to_multiple
from eetool.model.user_code import describe, error_place
from eetool.search.space.block_sites import BlockSites
from eetool.search.space.space import RESOLUTION, Gene, Genome, Space, SpaceBackbone, make_space
from eetool.search.space.space_names import MOBILENET_V3, MOBILENET_V3_CIFAR, RESNET, check_space_name

_KERNEL, _DEPTH, _WIDTH = 0, 1, 2  # phases of progressive shrinking, in the order of Once-for-All (arXiv 1908.09791)


@dataclass(frozen=True)
class _Stage:
    """A stage of a mobile network: width, stride, and whether it has squeeze-and-excite and h-swish."""

    width: int
    stride: int
    squeeze: bool
    swish: bool


@dataclass(frozen=True)
class _MobileNetwork:
    """Fixed parts of a mobile network: stem (width, stride), first block's width, stages, last layers' widths."""

    stem: tuple[int, int]
    first: int | None
    stages: tuple[_Stage, ...]
    last: tuple[int, int]
    sites: BlockSites

    def __call__(self, genome: Genome) -> SpaceBackbone:
        def scaled(width: int) -> int:
            return round_to_multiple(width * float(genome["width"]))

        parts = [f"{scaled(self.stem[0])}x{self.stem[1]}"]
        if self.first is not None:
            parts.append(f"{scaled(self.first)}r1.3e1")
        for s, stage in enumerate(self.stages):
            depth = int(genome[f"stage{s}.depth"])
            blocks = (f"stage{s}.block{b}" for b in range(depth))
            shape = "".join(f".{genome[f'{block}.kernel']}e{genome[f'{block}.expansion']}" for block in blocks)
            marks = ("h" if stage.swish else "r") + ("s" if stage.squeeze else "")
            parts.append(f"{scaled(stage.width)}{marks}{stage.stride}{shape}")
        parts.append(f"{scaled(self.last[0])}x{scaled(self.last[1])}")
        return self.sites.backbone(f"mbv3-{'-'.join(parts)}@{genome['resolution']}", genome)


def _mobile_depths(stages: int) -> tuple[Gene, ...]:
    return tuple(Gene(f"stage{s}.depth", (2, 3, 4), phase=_DEPTH) for s in range(stages))


def _mobile_space(
    name: str, fixed: _MobileNetwork, sides: tuple[int, ...], kernels: tuple[int, ...], expansions: tuple[int, ...]
) -> Space:
    genes = [Gene(RESOLUTION, sides), Gene("width", (0.5, 0.75, 1.0), phase=_WIDTH)]
    for s, depth in enumerate(fixed.sites.depths):
        genes.append(depth)
        for b in range(4):
            when = () if b < 2 else ((depth.name, tuple(d for d in depth.choices if int(d) > b)),)
            genes.append(Gene(f"stage{s}.block{b}.kernel", kernels, when, phase=_KERNEL))
            genes.append(Gene(f"stage{s}.block{b}.expansion", expansions, when, phase=_WIDTH))
    conditions = fixed.sites.conditions
    return make_space(name, genes, fixed, positions=(1,) * len(conditions), when=conditions)


def mobilenetv3() -> Space:
    """Return the space of Once-for-All's MobileNetV3 (arXiv 1908.09791), with a width as one more gene.

    Depths are 2–4 per stage, kernels 3–7 and expansions 3–6 per block. Strides are those for ImageNet: 32×32 pixels
    are reduced to one.
    """
    stages = (
        *(_Stage(24, 2, False, False), _Stage(40, 2, True, False), _Stage(80, 2, False, True)),
        *(_Stage(112, 1, True, True), _Stage(160, 2, True, True)),
    )
    sites = BlockSites(_mobile_depths(len(stages)), first=1)
    fixed = _MobileNetwork((16, 2), 16, stages, (960, 1280), sites)
    return _mobile_space("mobilenetv3", fixed, (128, 160, 192, 224), (3, 5, 7), (3, 4, 6))


def mobilenetv3_cifar() -> Space:
    """Return a space of mobile networks of a few million MACs for 32×32 pixels: four stages, the last at 4×4."""
    stages = (
        *(_Stage(24, 1, False, False), _Stage(40, 2, True, False)),
        *(_Stage(64, 1, False, True), _Stage(96, 2, True, True)),
    )
    fixed = _MobileNetwork((16, 2), None, stages, (288, 256), BlockSites(_mobile_depths(len(stages)), first=0))
    return _mobile_space("mobilenetv3-cifar", fixed, (24, 28, 32), (3, 5), (2, 3, 4))


def resnet() -> Space:
    """Return a space of residual networks for 32×32 pixels, from one to some thirty million MACs.

    Its genes are the resolution, and widths and depths of three stages.
    """
    genes = [Gene(RESOLUTION, (24, 28, 32))]
    depths = tuple(Gene(f"stage{s}.depth", (1, 2, 3), phase=_DEPTH) for s in range(3))
    for s, (depth, widths) in enumerate(zip(depths, ((16, 24, 32), (24, 40, 64), (32, 64, 96)), strict=True)):
        genes += [depth, Gene(f"stage{s}.width", widths, phase=_WIDTH)]
    sites = BlockSites(depths, first=1)

    def make(genome: Genome) -> SpaceBackbone:
        stages = "".join(f"-{genome[f'stage{s}.width']}x{genome[depth.name]}" for s, depth in enumerate(depths))
        return sites.backbone(f"resnet-16x0{stages}@{genome['resolution']}", genome)

    return make_space("resnet", genes, make, positions=(1,) * len(sites.conditions), when=sites.conditions)


SPACES: dict[str, Callable[[], Space]] = {
    MOBILENET_V3: mobilenetv3,
    MOBILENET_V3_CIFAR: mobilenetv3_cifar,
    RESNET: resnet,
}


def load_space(name: str) -> Space:
    """Return a built-in space, or the one that `package.module:space` is or returns.

    Raises:
        UsageError: there is no such space, or it cannot be loaded.
    """
    if name in SPACES:
        return SPACES[name]()
    check_space_name(name)
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        loaded = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        space = loaded() if callable(loaded) and not isinstance(loaded, Space) else loaded
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UsageError(
            f"the space {name} cannot be loaded{error_place(error)}: {describe(error)}",
            "It names a Space, or a function without arguments that returns one; eetool.search.space.space.make_space "
            "makes one.",
        ) from error
    finally:
        if here in sys.path:  # the user's code may change it
            sys.path.remove(here)
    if not isinstance(space, Space):
        raise UsageError(
            f"{name} is {type(space).__name__}, not a Space", "Make one with eetool.search.space.space.make_space."
        )
    return space
