"""Names of published weights: facts about files of timm, torchvision and TensorFlow."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.model.backbones.published_names import PublishedNames, published_names
from eetool.model.backbones.registry import build_backbone
from eetool.model.early_exit import EarlyExitNet
from eetool.model.weights import load_weights

CLASSES = 11
SHAPE = (1, 3, 48, 48)
# Names and shapes of a few tensors in files of each publisher, without the width of the classifier.
FACTS = {
    ("mobilenetv2", "torchvision"): {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.running_var": (16,),
        "features.2.conv.0.1.bias": (96,),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.weight": (320,),
        "features.18.1.running_mean": (1280,),
        "classifier.1.weight": (CLASSES, 1280),
    },
    ("mobilenetv3-large", "torchvision"): {
        "features.1.block.0.0.weight": (16, 1, 3, 3),
        "features.1.block.1.0.weight": (16, 16, 1, 1),
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.4.block.2.fc2.bias": (72,),
        "features.4.block.3.1.weight": (40,),
        "features.16.0.weight": (960, 160, 1, 1),
        "classifier.0.weight": (1280, 960),
        "classifier.3.bias": (CLASSES,),
    },
    ("mobilenetv2", "timm"): {
        "conv_stem.weight": (32, 3, 3, 3),
        "blocks.0.0.conv_pw.weight": (16, 32, 1, 1),
        "blocks.0.0.bn2.bias": (16,),
        "blocks.1.1.conv_pwl.weight": (24, 144, 1, 1),
        "blocks.6.0.bn3.running_mean": (320,),
        "conv_head.weight": (1280, 320, 1, 1),
        "bn2.weight": (1280,),
        "classifier.weight": (CLASSES, 1280),
    },
    ("mobilenetv3-small", "timm"): {
        "blocks.0.0.se.conv_reduce.weight": (8, 16, 1, 1),
        "blocks.2.0.se.conv_expand.bias": (96,),
        "blocks.5.0.conv.weight": (576, 96, 1, 1),
        "blocks.5.0.bn1.weight": (576,),
        "classifier.bias": (CLASSES,),
    },
    ("efficientnet-lite0", "timm"): {
        "conv_stem.weight": (32, 3, 3, 3),
        "blocks.2.1.conv_dw.weight": (240, 1, 5, 5),
        "blocks.6.0.conv_pwl.weight": (320, 1152, 1, 1),
        "bn2.running_var": (1280,),
    },
    ("efficientnet-lite0", "TensorFlow"): {
        "stem.conv.weight": (32, 3, 3, 3),
        "blocks.0.depth.bn.weight": (32,),
        "blocks.15.project.conv.weight": (320, 1152, 1, 1),
        "head.bn.running_mean": (1280,),
        "fc.weight": (CLASSES, 1280),
    },
    ("mobilenetv1-0.25", "TensorFlow"): {
        "stem.conv.bias": (8,),
        "blocks.12.depth.conv.weight": (256, 1, 3, 3),
        "blocks.12.point.conv.bias": (256,),
        "fc.bias": (CLASSES,),
    },
    ("imagenet-resnet18", "torchvision"): {
        "conv1.weight": (64, 3, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.bn2.running_var": (512,),
        "fc.weight": (CLASSES, 512),
    },
    ("imagenet-resnet50", "timm"): {"layer1.0.conv3.weight": (256, 64, 1, 1), "layer3.5.bn3.bias": (1024,)},
}


def random_network(name: str) -> nn.Module:
    """Return a network in evaluation mode whose every tensor is random."""
    net = build_backbone(name, SHAPE, CLASSES).eval()
    for key, x in net.state_dict().items():
        if x.is_floating_point():
            x.copy_(torch.rand(x.shape) + 0.5 if key.endswith("running_var") else torch.randn(x.shape) * x.std())
    return net


def names_of(net: nn.Module, source: str) -> PublishedNames:
    return next(names for names in published_names(net) if source in names.source)


def as_published(net: nn.Module, names: PublishedNames) -> dict[str, Tensor]:
    """Return the tensors of a network as a publisher's file has them."""
    state = net.state_dict()
    return {
        name: state[own] - names.epsilon if own.endswith("running_var") else state[own]
        for name, own in names.own.items()
    }


@pytest.mark.parametrize(("name", "source"), FACTS)
def test_published_names_are_those_of_files(name: str, source: str) -> None:
    with torch.device("meta"):  # without values
        net = build_backbone(name, SHAPE, CLASSES)
    names = names_of(net, source)
    stored = {key: tuple(x.shape) for key, x in as_published(net, names).items()}
    facts = FACTS[(name, source)]
    assert {key: stored.get(key) for key in facts} == facts
    assert len(names.own) == len(set(names.own.values())), "every tensor has one name"


@pytest.mark.parametrize(("name", "source"), [case for case in FACTS if "mobilenetv1" not in case[0]])
def test_load_weights_with_published_names_gives_the_same_logits(tmp_path: Path, name: str, source: str) -> None:
    torch.manual_seed(0)
    first, second = random_network(name), build_backbone(name, SHAPE, CLASSES).eval()
    names = names_of(first, source)
    torch.save(as_published(first, names), tmp_path / "w.pth")
    loaded = load_weights(EarlyExitNet(second, {}), tmp_path / "w.pth", CLASSES)
    assert loaded.published is not None
    assert loaded.published.source == names.source
    x = torch.randn(2, *SHAPE[1:])
    with torch.no_grad():
        assert torch.allclose(first(x), second(x), rtol=1e-4, atol=1e-5)


def test_load_weights_convolutional_head_of_timm_becomes_linear(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = random_network("mobilenetv3-small"), build_backbone("mobilenetv3-small", SHAPE, CLASSES)
    stored = as_published(first, names_of(first, "timm"))
    stored["conv_head.weight"] = stored["conv_head.weight"][:, :, None, None]
    torch.save(stored, tmp_path / "w.pth")
    load_weights(EarlyExitNet(second, {}), tmp_path / "w.pth", CLASSES)
    assert torch.equal(first.classifier.layers[0].weight, second.classifier.layers[0].weight)


@pytest.mark.parametrize("more", [0, 1])
def test_load_weights_folded_normalisations_are_identities(tmp_path: Path, more: int) -> None:
    """A class of no object, in front of the others, is left out."""
    torch.manual_seed(0)
    net = build_backbone("mobilenetv1-0.25", SHAPE, CLASSES).eval()
    own = net.state_dict()
    stored = {name: torch.randn(own[key].shape) * 0.1 for name, key in names_of(net, "TensorFlow").own.items()}
    stored["fc.weight"], stored["fc.bias"] = torch.randn(CLASSES + more, 256), torch.randn(CLASSES + more)
    torch.save(stored, tmp_path / "w.pth")
    load_weights(EarlyExitNet(net, {}), tmp_path / "w.pth", CLASSES)
    x = torch.randn(2, 8, 48, 48)
    with torch.no_grad():
        expected = torch.conv2d(x, stored["blocks.0.depth.conv.weight"], stored["blocks.0.depth.conv.bias"], 1, 1, 1, 8)
        assert torch.allclose(net.blocks[0].depthwise(x), expected.clamp(0, 6), atol=1e-5)
    assert torch.equal(net.classifier.weight, stored["fc.weight"][more:])


def test_published_names_of_other_networks_are_none() -> None:
    assert published_names(build_backbone("resnet8", (1, 3, 32, 32), 10)) == ()
