"""Training of branches on cached features."""

import torch

from eetool.model.branches import Branch, BranchSpec
from eetool.search.evaluation.branch_training import TapFeatures, train_branches


def test_train_branches_cached_features_improves_accuracy() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (256,))
    x = torch.randn(256, 4, 6, 6) + labels[:, None, None, None].float()
    features = TapFeatures((x,), torch.zeros(256, 3), labels)
    branch = Branch(BranchSpec.parse("conv3-8"), (1, 4, 6, 6), 3).eval()
    before = (branch(x).argmax(1) == labels).float().mean()
    train_branches([branch], features, 15, 32, seed=1)
    assert (branch(x).argmax(1) == labels).float().mean() > max(0.8, float(before))
