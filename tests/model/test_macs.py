"""MACs and parameters, by hand and by the literature."""

import pytest
import torch
from torch import nn

from eetool.model.backbones.registry import build_backbone
from eetool.model.macs import count_macs, count_parameters

IMAGE = (torch.zeros(1, 8, 10, 10),)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(8, 16, 3, padding=1), 16 * 8 * 3 * 3 * 10 * 10),
        (nn.Conv2d(8, 16, 3, padding=1, stride=2), 16 * 8 * 3 * 3 * 5 * 5),
        (nn.Conv2d(8, 16, 3, padding=1, groups=4), 16 * 2 * 3 * 3 * 10 * 10),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), 8 * 1 * 5 * 5 * 10 * 10),
        (nn.Conv2d(8, 16, 1), 16 * 8 * 10 * 10),
        (nn.Sequential(nn.Flatten(), nn.Linear(800, 7)), 800 * 7),
        (nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)).eval(), 0),
    ],
)
def test_count_macs_layers_equal_count_by_hand(layer: nn.Module, macs: int) -> None:
    assert count_macs(layer, IMAGE) == macs
    assert count_macs(layer, (IMAGE[0].expand(3, -1, -1, -1),)) == 3 * macs


@pytest.mark.parametrize(
    ("name", "shape", "mega_macs", "mega_parameters"),
    # Multiply-accumulates of convolutions, products of matrices and attention; 1000 classes at 224×224, else 10.
    [
        # Parameters of He et al., arXiv 1512.03385, table 6; MACs of HRank, arXiv 2002.10179, for the last two and for
        # VGG-16, and counted by hand from the table of layers for the first.
        ("resnet20", (3, 32, 32), 40.55, 0.27),
        ("resnet56", (3, 32, 32), 125.49, 0.85),
        ("resnet110", (3, 32, 32), 252.89, 1.7),
        ("vgg16", (3, 32, 32), 313.2, 14.7),
        # Huang et al., arXiv 1608.06993: parameters of table 2; MACs of HRank for the first. The second counts 2.83 G
        # where the authors' own count of 2.87 G has normalisations in it.
        ("densenet40", (3, 32, 32), 265, 1.0),
        ("densenet100-bc", (3, 32, 32), 288, 0.77),
        ("densenet121", (3, 224, 224), 2834, 7.98),
        # Sandler et al., arXiv 1801.04381, table 4; Howard et al., arXiv 1905.02244, table 3.
        ("mobilenetv2", (3, 224, 224), 300, 3.5),
        ("mobilenetv3-small", (3, 224, 224), 56, 2.54),
        ("mobilenetv3-large", (3, 224, 224), 217, 5.48),
        # Touvron et al., arXiv 2012.12877, table 1 (parameters); 1.26 G MACs as counted by timm for the same network.
        ("vit-tiny", (3, 224, 224), 1254, 5.7),
    ],
)
def test_count_macs_backbones_equal_published_size(
    name: str, shape: tuple[int, ...], mega_macs: float, mega_parameters: float
) -> None:
    with torch.device("meta"):  # without values
        backbone = build_backbone(name, (1, *shape), 1000 if shape[1] == 224 else 10).eval()
        macs = count_macs(backbone, (torch.zeros(1, *shape),))
    assert macs / 1e6 == pytest.approx(mega_macs, rel=0.01)
    assert count_parameters(backbone) / 1e6 == pytest.approx(mega_parameters, rel=0.025)


def test_count_macs_attention_counts_both_products() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens, width, hidden = 5, 8, 16
    linear = tokens * (3 * width * width + width * width + 2 * width * hidden)
    assert count_macs(layer, (torch.zeros(1, tokens, width),)) == linear + 2 * tokens * tokens * width


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_count_macs_recurrent_layer_counts_every_step(layer: type[nn.RNNBase], gates: int) -> None:
    steps, width, hidden = 7, 5, 6
    macs = count_macs(layer(width, hidden).eval(), (torch.zeros(steps, 1, width),))
    assert macs == steps * gates * (width * hidden + hidden * hidden)
