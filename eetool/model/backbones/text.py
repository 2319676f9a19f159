"""Small pre-norm transformer encoders for texts, trained from scratch (Vaswani et al., arXiv 1706.03762).

They read the token ids of `eetool_runtime.preprocess`. Id 0 is padding, which is masked in attention. Every text begins
with the start token, which is classified.
"""

import torch
from torch import Tensor, nn

from eetool.model.backbones.vit import Block
from eetool_runtime.preprocess import PADDING

_MASKED = -100.0  # added to the score of a padding token; finite, so that a text of padding alone gives no NaN
SIZES = {"tiny": (64, 2, 4), "small": (128, 4, 6)}  # width, heads, blocks


class TextEncoder(nn.Module):
    """Transformer encoder on embeddings of words and positions; the first token is classified."""

    def __init__(self, size: str, vocabulary: int, length: int, classes: int) -> None:
        super().__init__()
        width, heads, blocks = SIZES[size]
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.places = nn.Parameter(torch.zeros(1, length, width))
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Map token ids int64 (N, T) to logits (N, classes)."""
        mask = (ids == PADDING).to(self.places.dtype)[:, None, None, :] * _MASKED  # (N, T) -> (N, 1, 1, T)
        x = self.dropout(self.words(ids) + self.places)  # (N, T, D)
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = self.classifier(self.norm(x[:, 0]))  # (N, T, D) -> (N, D) -> (N, classes)
        return logits
