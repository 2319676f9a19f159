"""Supernet: shared weights of all networks of a space, and their training."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eetool.data.source import Source
from eetool.errors import ArtefactError, UsageError
from eetool.model.checkpoint import load_tensors
from eetool.model.early_exit import capture_outputs
from eetool.model.ofa_weights import load_ofa
from eetool.model.references.reference import float_input
from eetool.model.references.resolve import build
from eetool.model.supernet import Supernet, recalibrate_batch_norm
from eetool.progress import Advance, Progress
from eetool.search.evaluation.splits import SearchData, load_search_data
from eetool.search.evaluation.supernet_evaluator import largest_network
from eetool.search.space.builtin_spaces import mobilenetv3, mobilenetv3_cifar, resnet
from eetool.search.space.space import Gene, Genome, Space, SpaceBackbone, When, make_space
from eetool.search.supernet_training import (
    RESUME_FORMAT,
    SupernetTraining,
    _LinearExits,
    load_supernet,
    save_supernet,
    train_supernet,
)
from tests.helpers import small_spaces

INPUTS = float_input("x", (1, 3, 32, 32))


def network(space: Space, genome: Genome) -> nn.Module:
    described = space.network(genome)
    return build(described.backbone, INPUTS, 10, described.config)


@pytest.mark.parametrize("make", [mobilenetv3_cifar, resnet, mobilenetv3])
def test_hand_down_any_genome_finds_its_weights(make: object) -> None:
    space: Space = make()  # type: ignore[operator]
    supernet = Supernet(network(space, space.largest()))
    rng = np.random.default_rng(0)
    for genome in (space.smallest(), *(space.sample(rng) for _ in range(5))):
        candidate = network(space, genome)
        supernet.copy_weights_to(candidate)
    largest = network(space, space.largest())
    supernet.copy_weights_to(largest)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(largest.eval()(x), supernet.eval()(x))


def test_run_and_hand_down_give_equal_logits() -> None:
    space = mobilenetv3_cifar()
    supernet = Supernet(network(space, space.largest()))
    with torch.no_grad():
        for step in supernet.steps.values():
            step.add_(0.1 * torch.randn_like(step))
    candidate = network(space, space.smallest())
    supernet.copy_weights_to(candidate)
    x = torch.randn(2, 3, 32, 32)
    with torch.device("meta"):
        shape = network(space, space.smallest()).eval()
    logits = supernet.run(shape, x)
    assert torch.equal(logits, candidate.eval()(x))
    logits.sum().backward()  # type: ignore[no-untyped-call]
    weight = supernet.network.get_submodule("stage0.0.expand.conv").weight
    assert isinstance(weight.grad, Tensor)
    assert (weight.grad.abs().sum((1, 2, 3)) > 0).sum() < len(weight)  # only the channels that were used
    assert supernet.steps["stage0/0/depthwise/conv/weight/3"].grad is not None


def test_tensors_smaller_kernel_is_transformed_centre() -> None:
    big, small = nn.Sequential(nn.Conv2d(2, 2, 7, groups=2)), nn.Sequential(nn.Conv2d(2, 2, 3, groups=2))
    supernet = Supernet(big)
    weight = supernet.shared_tensors(small.state_dict())["0.weight"]
    assert torch.equal(weight, big[0].weight[:, :, 2:5, 2:5])  # the initial matrices select the centre
    with torch.no_grad():
        supernet.steps["0/weight/5"].mul_(2)
        supernet.steps["0/weight/3"].mul_(5)
    assert torch.allclose(supernet.shared_tensors(small.state_dict())["0.weight"], 10 * big[0].weight[:, :, 2:5, 2:5])


def test_hand_down_unfitting_network_raises_usage_error() -> None:
    supernet = Supernet(nn.Sequential(nn.Linear(4, 4)))
    for other in (nn.Sequential(nn.Linear(4, 5)), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))):
        with pytest.raises(UsageError, match="needs the weight"):
            supernet.copy_weights_to(other)


def test_recalibrate_statistics_are_means_over_batches() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3))
    batches = [torch.randn(8, 3, 4, 4) + i for i in range(3)]
    recalibrate_batch_norm(net, batches)
    assert torch.allclose(net[0].running_mean, torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0), atol=1e-6)
    assert net[0].momentum == 0.1
    assert not net.training


@pytest.fixture(scope="module")
def data(digits: Source) -> SearchData:
    little = replace(digits, inputs=digits.inputs[:, :, ::2, ::2])
    return load_search_data(little, 128)


SETTINGS = SupernetTraining(epochs=3, batch_size=256)


def trained(data: SearchData, folder: Path, resume: bool = False, progress: Progress | None = None) -> Supernet:
    space = small_spaces.mobile()
    torch.manual_seed(0)
    supernet = Supernet(largest_network(space, data))
    more = {} if progress is None else {"progress": progress}
    train_supernet(supernet, space, data, SETTINGS, folder / "state", resume, **more)
    return supernet


def test_train_supernet_resumed_run_equals_uninterrupted(data: SearchData, tmp_path: Path) -> None:
    whole = trained(data, tmp_path).state_dict()
    (tmp_path / "other").mkdir()

    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "other", progress=_Stops(5))
    resumed = trained(data, tmp_path / "other", resume=True).state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert not list((tmp_path / "other").iterdir())


class _Stops:
    """A progress that interrupts the work at a step."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, what: str, total: int) -> "_Stops":
        return self

    def __enter__(self) -> Advance:
        return self.advance

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: int) -> None:
        self.left -= steps
        if self.left <= 0:
            raise KeyboardInterrupt

    def note(self, line: str) -> None:
        pass


def test_train_supernet_improves_smallest_and_largest(data: SearchData, tmp_path: Path) -> None:
    space = small_spaces.mobile()
    supernet = Supernet(largest_network(space, data))
    train_supernet(
        supernet, space, data, SupernetTraining(epochs=6, batch_size=64, learning_rate=0.3), tmp_path / "state"
    )
    for genome in (space.smallest(), space.largest()):
        described = space.network(genome)
        candidate = build(described.backbone, data.inputs, 10, described.config)
        supernet.copy_weights_to(candidate)
        recalibrate_batch_norm(candidate, data.batches(2, 64))
        with torch.no_grad():
            right = (candidate(data.judge.inputs()).argmax(1) == data.judge.labels).float().mean()
        assert right > 0.25, genome  # chance is 0.1


def test_train_supernet_trains_linear_exits_of_all_sizes(data: SearchData, tmp_path: Path) -> None:
    space = small_spaces.mobile()
    torch.manual_seed(0)
    supernet = Supernet(largest_network(space, data))
    settings, steps = SupernetTraining(epochs=7, batch_size=64, learning_rate=0.3), -(-len(data.training.labels) // 64)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(supernet, space, data, settings, tmp_path / "state", progress=_Stops(6 * steps + 1))
    stored = load_tensors(tmp_path / "state", RESUME_FORMAT)
    supernet.load_state_dict(stored["net"])
    for genome in (space.smallest(), space.largest()):
        described = space.network(genome)
        candidate = build(described.backbone, data.inputs, 10, described.config)
        supernet.copy_weights_to(candidate)
        recalibrate_batch_norm(candidate, data.batches(2, 64))
        for place, taps in enumerate(space.make(genome).sites):
            with torch.no_grad(), capture_outputs(candidate, taps[:1]) as at:
                candidate(data.judge.inputs())
            means = at[taps[0]].mean((2, 3))  # (n, C, H, W) -> (n, C)
            weight, bias = (stored["exits"][f"heads.{place}.{part}"] for part in ("weight", "bias"))
            answers = (means @ weight[:, : means.shape[1]].T + bias).argmax(1)
            assert (answers == data.judge.labels).float().mean() > 0.25, (genome, place)  # chance is 0.1


def test_linear_exits_are_at_stage_ends_alone(data: SearchData) -> None:
    space = small_spaces.blocks()
    exits = _LinearExits(Supernet(largest_network(space, data)), space.backbones, data.judge.inputs(1), 10)
    assert len(exits.heads) == 1  # of three sites
    assert exits.taps(space.smallest()) == {0: "stage1.0"}
    assert exits.taps(space.largest()) == {0: "stage1.1"}


def test_linear_exits_absent_site_leaves_others_their_heads(data: SearchData) -> None:
    def make(genome: Genome) -> SpaceBackbone:
        first = ("body.0",) if genome["depth"] == 2 else ()
        last = (f"body.{int(genome['depth']) - 1}",)
        return SpaceBackbone("tests.helpers.small_spaces:Plain", (first, last), dict(genome))

    deep: When = (("depth", (2,)),)
    space = make_space("two", [Gene("depth", (1, 2)), Gene("width", (4, 8))], make, (1, 1), when=(deep, ()))
    exits = _LinearExits(Supernet(largest_network(space, data)), space.backbones, data.judge.inputs(1), 10)
    assert exits.taps(space.largest()) == {0: "body.0", 1: "body.1"}
    assert exits.taps(space.smallest()) == {1: "body.0"}
    features = torch.randn(6, 4, 2, 2)  # a smaller network has fewer channels
    exits.loss({1: features}, torch.arange(6)).backward()  # type: ignore[no-untyped-call]
    gradients = [exits.get_submodule(f"heads.{end}").weight.grad for end in range(2)]
    assert gradients[0] is None
    assert gradients[1] is not None
    assert gradients[1][:, :4].any()


def test_load_supernet_other_space_or_data_raises_artefact_error(data: SearchData, tmp_path: Path) -> None:
    space, path = small_spaces.mobile(), tmp_path / "supernet.pt"
    supernet = Supernet(largest_network(space, data))
    save_supernet(path, supernet, space, data, SETTINGS)
    again = Supernet(largest_network(space, data))
    load_supernet(path, again, space.without("branches", "gate"), data)  # another method searches the same backbones
    assert all(
        torch.equal(a, b) for a, b in zip(supernet.state_dict().values(), again.state_dict().values(), strict=True)
    )
    with pytest.raises(ArtefactError, match="another space"):
        load_supernet(path, again, resnet(), data)
    with pytest.raises(ArtefactError, match="other data"):
        load_supernet(path, again, space, replace(data, name="letters"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtefactError):
        load_supernet(path, again, space, data)


def published(classes: int = 1000, old: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Names and shapes of ofa_mbv3_d234_e346_k357_w1.0, random values."""

    def norm(name: str, width: int) -> Iterator[tuple[str, Tensor]]:
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", torch.rand(width)
        yield f"{name}.num_batches_tracked", torch.tensor(3)

    inner = "mobile_inverted_conv" if old else "conv"
    conv, bn = (".conv.conv", ".bn.bn") if old else (".conv", ".bn")
    yield "first_conv.conv.weight", torch.rand(16, 3, 3, 3)
    yield from norm("first_conv.bn", 16)
    yield f"blocks.0.{inner}.depth_conv.conv.weight", torch.rand(16, 1, 3, 3)
    yield from norm(f"blocks.0.{inner}.depth_conv.bn", 16)
    yield f"blocks.0.{inner}.point_linear.conv.weight", torch.rand(16, 16, 1, 1)
    yield from norm(f"blocks.0.{inner}.point_linear.bn", 16)
    before, index = 16, 0
    for width, squeeze in ((24, False), (40, True), (80, False), (112, True), (160, True)):
        for _ in range(4):
            index += 1
            at, wide = f"blocks.{index}.{inner}", 6 * before
            yield f"{at}.inverted_bottleneck{conv}.weight", torch.rand(wide, before, 1, 1)
            yield from norm(f"{at}.inverted_bottleneck{bn}", wide)
            yield f"{at}.depth_conv{conv}.weight", torch.rand(wide, 1, 7, 7)
            yield f"{at}.depth_conv.conv.7to5_matrix", torch.rand(25, 25)
            yield f"{at}.depth_conv.conv.5to3_matrix", torch.rand(9, 9)
            yield from norm(f"{at}.depth_conv{bn}", wide)
            if squeeze:
                middle = (wide // 4 + 4) // 8 * 8
                yield f"{at}.depth_conv.se.fc.reduce.weight", torch.rand(middle, wide, 1, 1)
                yield f"{at}.depth_conv.se.fc.reduce.bias", torch.rand(middle)
                yield f"{at}.depth_conv.se.fc.expand.weight", torch.rand(wide, middle, 1, 1)
                yield f"{at}.depth_conv.se.fc.expand.bias", torch.rand(wide)
            yield f"{at}.point_linear{conv}.weight", torch.rand(width, wide, 1, 1)
            yield from norm(f"{at}.point_linear{bn}", width)
            before = width
    yield "final_expand_layer.conv.weight", torch.rand(960, 160, 1, 1)
    yield from norm("final_expand_layer.bn", 960)
    yield "feature_mix_layer.conv.weight", torch.rand(1280, 960, 1, 1)
    yield "classifier.linear.weight" if old else "classifier.linear.linear.weight", torch.rand(classes, 1280)
    yield "classifier.linear.bias" if old else "classifier.linear.linear.bias", torch.rand(classes)


@pytest.mark.parametrize("old", [True, False])
def test_load_ofa_published_names_are_mapped(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "ofa_mbv3_d234_e346_k357_w1.0"
    stored = dict(published(old=old))
    torch.save({"state_dict": stored}, path)
    space = mobilenetv3()
    supernet = Supernet(network(space, space.largest()))
    fresh = supernet.network.get_submodule("classifier.layers.3").weight.clone()
    load_ofa(supernet, path)
    held = supernet.state_dict()
    inner = "mobile_inverted_conv" if old else "conv"
    last = f"blocks.20.{inner}.depth_conv"
    pairs = {
        "network.stem.conv.weight": "first_conv.conv.weight",
        "network.stage0.0.project.conv.weight": f"blocks.0.{inner}.point_linear.conv.weight",
        "network.stage2.1.squeeze.layers.3.bias": f"blocks.6.{inner}.depth_conv.se.fc.expand.bias",
        "network.stage5.3.depthwise.conv.weight": f"{last}{'.conv.conv' if old else '.conv'}.weight",
        "steps.stage5/3/depthwise/conv/weight/3": f"{last}.conv.5to3_matrix",
        "network.last.norm.running_var": "final_expand_layer.bn.running_var",
    }
    assert all(torch.equal(held[here], stored[there]) for here, there in pairs.items())
    assert torch.equal(held["network.classifier.layers.0.weight"], stored["feature_mix_layer.conv.weight"].flatten(1))
    assert torch.equal(held["network.classifier.layers.3.weight"], fresh)  # for another number of classes

    stored["first_conv.conv.weight"][0, 0] = torch.nan
    torch.save({"net": {"module": stored}}, path)
    with pytest.raises(ArtefactError, match=r"network.stem.conv.weight: 9 NaN of 432 values"):
        load_ofa(supernet, path)

    stored.pop("final_expand_layer.conv.weight")
    torch.save(stored, path)
    with pytest.raises(ArtefactError, match=r"lacks the tensor last\.conv\.weight"):
        load_ofa(supernet, path)
