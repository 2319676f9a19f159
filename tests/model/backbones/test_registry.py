"""Built-in backbones: their names, inputs and outputs."""

import pytest
import torch

from eetool.errors import UsageError
from eetool.model.backbones.names import NAMES
from eetool.model.backbones.registry import build_backbone
from eetool.model.early_exit import candidate_taps, capture_outputs

# One of every builder, the smallest.
FAMILIES = (
    *("resnet8", "resnet-16x0-32x1-64x2s-128x2-256x2", "imagenet-resnet18", "densenet40", "densenet121", "vgg11"),
    *("mobilenetv1-0.25", "mobilenetv2", "mobilenetv3-small", "efficientnet-lite0", "vit-tiny"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 16)])
def test_build_backbone_image_of_any_size_gives_one_logit_per_class(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):  # without values
        backbone = build_backbone(name, (1, *shape), 7).eval()
        assert backbone(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", FAMILIES)
def test_build_backbone_gives_finite_logits(name: str) -> None:
    backbone = build_backbone(name, (1, 1, 28, 28), 7).eval()
    with torch.no_grad():
        assert backbone(torch.randn(2, 1, 28, 28)).isfinite().all()


def test_build_backbone_vit_with_partial_patches_raises_usage_error() -> None:
    with pytest.raises(UsageError, match="patches of 4×4"):
        build_backbone("vit-tiny", (1, 3, 30, 32), 10)


def test_build_backbone_mobilenet_stem_stride_depends_on_image_size() -> None:
    small, large = (build_backbone("mobilenetv3-small", (1, 3, side, side), 10) for side in (64, 65))
    assert small.stem.conv.stride == (1, 1)
    assert large.stem.conv.stride == (2, 2)
    assert list(small.state_dict()) == list(large.state_dict()), "weights fit both"


def test_build_backbone_resnet20_has_common_parameter_names() -> None:
    names = set(build_backbone("resnet20", (1, 3, 32, 32), 10).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "linear.bias"} <= names
    assert not any("shortcut" in name or "downsample" in name for name in names), "option A has no parameters"


def test_resnet_block_shortcut_subsamples_and_pads_channels() -> None:
    backbone = build_backbone("resnet8", (1, 3, 8, 8), 10).eval()
    block = backbone.layer2[0]
    torch.nn.init.zeros_(block.conv2.weight)  # only the shortcut remains
    x = torch.rand(1, 16, 8, 8)
    y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "resnet", "resnet9", "resnet2", "resnet1208", "Resnet20", ""),
        *("densenet", "densenet41", "densenet102-bc", "vgg12", "mobilenetv1-0", "mobilenetv1-9", "mobilenetv3"),
        *("imagenet-resnet20", "resnet18", "efficientnet-lite9", "efficientnet", "vit-huge"),
    ],
)
def test_build_backbone_unknown_name_raises_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        build_backbone(name, (1, 3, 32, 32), 10)


@pytest.mark.parametrize("shape", [(3,), (1, 32), (3, 32, 32), (1, 3, 4, 32, 32)])
def test_build_backbone_input_that_is_no_image_raises_usage_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="resnet8 takes images, not inputs of shape"):
        build_backbone("resnet8", shape, 10)


def test_build_backbone_staged_resnet_has_stages_of_its_name() -> None:
    net = build_backbone("resnet-8x0-16x1-24x2s-32x1", (1, 3, 16, 16), 5)
    with torch.no_grad(), capture_outputs(net, ("stem", "stage1.0", "stage2.1", "stage3.0")) as features:
        assert net.eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    shapes = {tap: tuple(x.shape[1:]) for tap, x in features.items()}
    assert shapes == {"stem": (8, 16, 16), "stage1.0": (16, 8, 8), "stage2.1": (24, 8, 8), "stage3.0": (32, 4, 4)}
    assert candidate_taps(net) == ("stage1.0", "stage2.0", "stage2.1", "stage3.0")


@pytest.mark.parametrize("name", ["resnet-8x0-16x0", "resnet-0x1"])
def test_build_backbone_stage_without_blocks_or_width_raises_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="without blocks or width"):
        build_backbone(name, (1, 3, 16, 16), 5)
