"""Networks of `zoo.py`: small, with random weights, each from a configuration or a factory."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
_TEXT = {"vocab_size": 200, "max_position_embeddings": 40}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}
_WAVES = {
    **{"conv_dim": [16, 16, 16], "conv_stride": [5, 4, 4], "conv_kernel": [10, 4, 4], "num_feat_extract_layers": 3},
    **{"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16},
}


@dataclass(frozen=True)
class Network:
    """A model reference, or a transformers configuration, and an input shape that overrides the model's own."""

    reference: str
    config: dict[str, Any] | None = None
    shape: tuple[int, ...] | None = None


def _hf(kind: str, shape: tuple[int, ...] | None = None, **config: Any) -> Network:
    return Network(f"hf:{kind}", {"model_type": kind, **config}, shape)


NETWORKS = {
    **{
        name: Network(name)
        for name in ("resnet20", "resnet56", "densenet40", "vgg11", "mobilenetv2", "mobilenetv3-small", "vit-tiny")
    },
    "hf-resnet": _hf("resnet", (1, 3, 32, 32), embedding_size=16, layer_type="basic", **_STAGES),
    "hf-efficientnet": _hf(
        "efficientnet",
        image_size=32,
        width_coefficient=0.25,
        depth_coefficient=0.4,
        hidden_dim=320,
        initializer_range=0.3,  # with the default of 0.02 activations vanish
    ),
    "hf-convnext": _hf("convnext", image_size=32, patch_size=2, **_STAGES),
    "hf-swin": _hf(
        "swin", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2, 2], num_heads=[2, 2, 4], window_size=4
    ),
    "hf-vit": _hf("vit", image_size=32, patch_size=8, **_TRANSFORMER),
    "hf-deit": _hf("deit", image_size=32, patch_size=8, **_TRANSFORMER),
    "hf-mobilevit": _hf(
        "mobilevit",
        image_size=64,
        hidden_sizes=[24, 32, 40],
        neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64],
        num_attention_heads=2,
        initializer_range=0.1,
    ),
    "hf-bert": _hf("bert", (1, 16), **_TRANSFORMER, **_TEXT),
    "hf-distilbert": _hf("distilbert", (1, 16), dim=32, n_layers=4, n_heads=2, hidden_dim=64, **_TEXT),
    "hf-gpt2": _hf("gpt2", (1, 16), vocab_size=200, n_embd=32, n_layer=4, n_head=2, n_positions=40, pad_token_id=0),
    "hf-ast": _hf("audio-spectrogram-transformer", max_length=64, num_mel_bins=32, patch_size=16, **_TRANSFORMER),
    "hf-wav2vec2": _hf("wav2vec2", (1, 2000), **_TRANSFORMER, **_WAVES),
    "two-streams": Network("zoo_networks:two_streams", shape=(1, 3, 16, 16)),
    "user-text": Network("zoo_networks:user_text"),
}


def two_streams() -> nn.Module:
    """Return a user-defined network with two tensors across every boundary."""
    return _TwoStreams()


def user_text() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a user-defined network with ids and a mask as inputs, a transformer and a recurrent layer."""
    ids, mask = torch.arange(12)[None] % 50, torch.ones(1, 12, dtype=torch.int64)
    return _UserText(), {"ids": torch.cat((ids, ids + 38)), "mask": mask.expand(2, -1)}


class _TwoStreams(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Exchange(8) for _ in range(4))
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        streams = (self.fine(x), self.coarse(x))
        for block in self.blocks:
            streams = block(streams)
        pooled = [stream.mean((2, 3)) for stream in streams]  # (N, C, H, W) -> (N, C)
        logits: Tensor = self.classifier(torch.cat(pooled, 1))
        return logits


class _Exchange(nn.Module):
    """Two resolutions that exchange features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, streams: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        fine, coarse = streams
        up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        down = nn.functional.avg_pool2d(fine, 2)
        return fine + self.fine(fine + up).relu_(), coarse + self.coarse(coarse + down).relu_()


class _UserText(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(3))
        self.gru = nn.GRU(16, 16, batch_first=True)
        self.classifier = nn.Linear(16, 10)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = mask == 0
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=hidden)
        x, _ = self.gru(x)
        kept = mask[:, :, None].float()
        logits: Tensor = self.classifier((x * kept).sum(1) / kept.sum(1))  # (N, T, D) -> (N, D) -> (N, classes)
        return logits
