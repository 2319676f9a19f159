"""Train WideNet on digits in plain PyTorch and save its weights, without eetool.

python pretrain.py weights.pt
"""

import sys

import torch
from torch.nn.functional import cross_entropy
from wide_net import make

from eetool.data.registry import load_source
from eetool.data.splits import TRAIN, split_source

EPOCHS, BATCH = 5, 64


def main() -> int:
    """Train on the training split only, so that the other splits stay unused."""
    torch.manual_seed(0)
    source = load_source("digits")
    chosen = split_source(source)[TRAIN]
    images = torch.from_numpy(source.inputs[chosen]).float() / 255  # (N, 1, 32, 32)
    images = (images - 0.5) / 0.5
    labels = torch.from_numpy(source.labels[chosen])
    net = make().train()
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    torch.save(net.state_dict(), sys.argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
