"""Statistics of normalisations that are folded in a file."""

import torch

from eetool.model.backbones.registry import build_backbone
from eetool.train.norm_statistics import estimate_norm_statistics
from eetool.train.training_examples import TrainingExamples


def test_estimate_norm_statistics_keeps_evaluation_and_lets_training_agree() -> None:
    torch.manual_seed(0)
    net = build_backbone("mobilenetv1-0.25", (1, 3, 32, 32), 5).eval()
    names = [name for name, module in net.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for name in names:
            module = net.get_submodule(name)
            module.bias.normal_(0.3, 0.2)
            module.running_var.fill_(1 - module.eps)
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    half = torch.full((3,), 0.5)
    examples = TrainingExamples(images, torch.zeros(64, dtype=torch.int64), half, half)
    x = examples.normalise(images)
    with torch.no_grad():
        expected = net(x)
        before = (net.train()(x) - expected).abs().max()
        net.eval()
        for name in names:  # training mode has changed the averages
            net.get_submodule(name).running_mean.zero_()
            net.get_submodule(name).running_var.fill_(1 - net.get_submodule(name).eps)
        estimate_norm_statistics(net, names, examples)
        assert torch.allclose(net(x), expected, rtol=1e-3, atol=1e-4)
        after = (net.train()(x) - expected).abs().max()
    assert before > 0.1 * expected.abs().max()
    assert after < 0.01 * before
