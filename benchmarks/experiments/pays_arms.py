"""The arms of `early_exit_pays.py`: one experiment each, and the models that each needs."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from network_cascades import CLASSES, LARGER, LARGEST, LITTLE, MIDDLE, NetworkCascade, join, own, three, together, two
from pays_workspace import DEEPEST, Backbone, Workspace, split_logits

from eetool.data.registry import load_source
from eetool.data.splits import TEMPERATURE, TEST, THRESHOLD
from eetool.model.checkpoint import load_checkpoint
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.tune.calibration import Calibration, fit_temperature
from eetool.tune.cross_fitting import LabelledLogits, calibrate, threshold_problem
from eetool.tune.exit_costs import model_macs
from eetool.tune.margin_search import MarginSearch

AGREEMENTS = (97.15, 93.62)  # of PTEENet's own table, in percent
# A shallow trunk whose first exit has a small network of its own, and a deep end that few inputs reach.
NETWORK = LARGEST
TAPS = "stage1.0,stage2.0,stage2.1,stage3.0"
STRONG = (
    "max2,conv3-64,conv3-64,max2,conv3-128,conv3-128",
    "max2,conv3-96,max2,conv3-192",
    "max2,conv3-128,max2,conv3-256",
    "max2,conv3-192,max2,conv3-256",
)
WEIGHTS = "0.6,0.6,0.7,0.8,1"
# Static networks of the same architecture, shallower and narrower, and the largest one without exits.
OWN_FAMILY = (
    LITTLE,
    "resnet-16x0-32x1-64x1s-128x1",
    LARGER,
    "resnet-16x0-24x1-48x2s-96x1s-192x2",
    NETWORK,
)
# The network that branches are compared on. It is smaller, as six of them are trained.
COMPARED = "resnet-16x0-32x1-64x1-128x1"
COMPARED_TAPS = "stage1.0,stage2.0"
KINDS = {"strong": STRONG[:2], "linear": ("linear",) * 2}
# On the frozen ResNet: the number of exits and their branch.
FROZEN = {"frozen": (7, "max2,conv3-32,max2,conv3-64"), "frozen-strong": (4, "max2,conv3-32,max2,conv3-64,conv3-64")}
# A search of exits on the frozen ResNet, and the exits of NACHOS (arXiv 2401.13330) there: the branch of its rule at
# the ends of two stages.
SEARCH = ("--max-accuracy-drop", 0.5, "--trials", 40)
BY_RULE = ("layer1.8,layer2.8", "max2,max2,conv3-32,conv3-64,conv3-128")
ALLOWED = (0.25, 0.5, 0.75, 1.0)  # points, on random halves of the held-out images
SEEDS = 3


def frozen(space: Workspace) -> dict[str, Any]:
    """Bench many small branches, and fewer stronger ones, on the frozen deepest ResNet."""
    models = {name: frozen_network(space, name) for name in FROZEN}
    return {
        name: space.tune_and_bench(m, space.static_bundles(), "--max-accuracy-drop", 0.5) for name, m in models.items()
    }


def frozen_network(space: Workspace, name: str) -> Path:
    """Train the exits `FROZEN[name]` on the frozen deepest ResNet."""
    return train_exits_on(space, space.backbone(DEEPEST), name, "frozen", *FROZEN[name])


def searched(space: Workspace) -> dict[str, Any]:
    """Bench exits that a search found on the frozen deepest ResNet, and those of NACHOS' rule."""
    tuning, rivals = ("--max-accuracy-drop", 0.5), space.static_bundles()
    front = json.loads(search_front(space).read_text(encoding="utf-8"))
    score = next(candidate["score"] for candidate in front["front"] if candidate["id"] == front["cheapest"])
    ways = {"searched": (searched_network(space), score), "by-rule": (rule_network(space), MAX_SOFTMAX)}
    return {
        name: {
            **space.tune_and_bench(model, rivals, *tuning, "--score", own),
            "splits": random_splits(space, model, own),
        }
        for name, (model, own) in ways.items()
    }


def random_splits(space: Workspace, model: Path, score: str) -> dict[str, list[float]]:
    """Return drops in points and shares of full depth's MACs on one half of the held-out images, tuned on the other.

    Of each the mean over random halves and its standard deviation, by the drop that was allowed.
    """
    costs = model_macs(load_checkpoint(model).record.spec, score)
    first, *others = [split_logits(model, space.data, s) for s in (TEMPERATURE, THRESHOLD, TEST)]
    whole = first.join(others[0]).join(others[1])
    found: dict[str, list[tuple[float, float]]] = {f"{drop:g}": [] for drop in ALLOWED}
    for seed in range(space.splits):
        halves = np.array_split(np.random.default_rng(seed).permutation(len(whole.labels)), 2)
        fitted, tested = (whole.select(half) for half in halves)
        calibration = calibrate(fitted, score)
        search = MarginSearch(threshold_problem(calibration, fitted, costs, score), standard_errors=1)
        problem = threshold_problem(calibration, tested, costs, score)
        for drop in ALLOWED:
            cost, errors = problem.evaluate(search.cheapest(drop))
            found[f"{drop:g}"].append((100 * errors / problem.n, cost / float(sum(costs.trunk))))
    return {
        drop: [round(float(x), 3) for x in (*np.mean(pairs, 0), *np.std(pairs, 0))] for drop, pairs in found.items()
    }


def search_front(space: Workspace) -> Path:
    """Search exits on the frozen deepest ResNet."""
    backbone = space.backbone(DEEPEST)
    network = ("--backbone", backbone.name, "--weights", backbone.weights, *backbone.options)
    return space.run("search.front.json", "search", *network, "--data", space.data, "--device", space.device, *SEARCH)


def searched_network(space: Workspace) -> Path:
    """Train the cheapest exits that were found on the frozen deepest ResNet."""
    backbone = space.backbone(DEEPEST)
    budget = space.budget(max(1, space.epochs // 5))
    given = ("--weights", backbone.weights, *backbone.options, "--recipe", "frozen")
    return space.run("searched.pt", "train", "--from", search_front(space), "--pick", "cheapest", *budget, *given)


def rule_network(space: Workspace) -> Path:
    """Train the exits of NACHOS' rule on the frozen deepest ResNet."""
    backbone, (taps, branch) = space.backbone(DEEPEST), BY_RULE
    given = ("--weights", backbone.weights, *backbone.options, "--at", taps, "--branch", branch, "--recipe", "frozen")
    return space.run("by-rule.pt", "train", backbone.name, *space.budget(max(1, space.epochs // 5)), *given)


def confidence(space: Workspace) -> dict[str, Any]:
    """Compare learned confidences with max softmax on the same networks (PTEENet).

    The exits are trained towards the classes of the backbone.
    """
    results = {}
    for name in confidence_backbones(space):
        model = confidence_network(space, name)
        results[name] = {
            "learned": space.tune_and_bench(
                model, space.static_bundles() if name == DEEPEST else [], "--score", "learned"
            ),
            "agreement": {score: agreement(space, model, score) for score in ("learned", "max_softmax")},
        }
    return results


def confidence_backbones(space: Workspace) -> tuple[str, ...]:
    """Return one backbone of each family."""
    return DEEPEST, space.densenet, space.vgg


def confidence_network(space: Workspace, name: str) -> Path:
    """Train exits with a learned confidence on the backbone `name`.

    On the deepest ResNet they start from the exits of the arm `frozen`.
    """
    backbone, exits = space.backbone(name), FROZEN["frozen"]
    if name == DEEPEST:
        backbone = replace(backbone, weights=frozen_network(space, "frozen"))
    learning = (
        "--optimizer",
        "adamw",
        "--learning-rate",
        0.001,
        "--cost-weight",
        1,
    )  # the paper's optimiser; the cost weight is ours
    return train_exits_on(
        space, backbone, f"confidence-{name}", "confidence", *exits, "--targets", "backbone", *learning
    )


def dominates(space: Workspace) -> dict[str, Any]:
    """Bench the network designed for exits against the static family."""
    return space.tune_and_bench(main_network(space), space.static_bundles())


def in_front(space: Workspace) -> dict[str, Any]:
    """Bench two- and three-network cascades that end in the deepest ResNet.

    The first network is the smallest static one trained here. The three-network cascade has ResNet-20 in between.
    """
    require_ten_classes(space)
    rivals = [*space.static_bundles(), *own_bundles(space, (0,))]
    big, little = space.backbone(DEEPEST), own_static(space, 0)
    nets = {two: [little], three: [little, space.without_exits(MIDDLE)]}
    joined = {
        make: train_cascade(space, make, [*front, space.without_exits(DEEPEST)], big.options)
        for make, front in nets.items()
    }
    return {make.__name__: space.tune_and_bench(model, rivals) for make, model in joined.items()}


def own_in_front(space: Workspace) -> dict[str, Any]:
    """Bench cascades of two and three networks of one family, trained here, against that family.

    The three networks add a share of the earlier logits to their own.
    """
    require_ten_classes(space)
    little, larger, largest = (own_static(space, OWN_FAMILY.index(name)) for name in (LITTLE, LARGER, LARGEST))
    rivals = [*space.static_bundles(), *own_bundles(space, range(len(OWN_FAMILY)))]
    nets = {own: [little, larger], together: [little, larger, largest]}
    joined = {make: train_cascade(space, make, these, ("--hold-out", "train")) for make, these in nets.items()}
    return {make.__name__: space.tune_and_bench(model, rivals) for make, model in joined.items()}


def require_ten_classes(space: Workspace) -> None:
    """Exit unless the data has the number of classes that cascades are made for."""
    if len(load_source(space.data).classes) != CLASSES:
        raise SystemExit(f"network cascades need data of {CLASSES} classes; name other arms with --only")


def train_cascade(
    space: Workspace, make: Callable[[], NetworkCascade], nets: list[Path], options: tuple[object, ...]
) -> Path:
    """Join `nets` into a cascade and train for one epoch the linear exits, which read ten logits each."""
    *front, big = nets
    weights = space.out / f"{make.__name__}.safetensors"
    if not weights.exists():
        join(make, front, big, weights)
    taps = ",".join(f"logits.{i}" for i in range(len(front)))
    given = ("--weights", weights, *options, "--at", taps, "--branch", "linear", "--recipe", "frozen")
    return space.run(f"{make.__name__}.pt", "train", f"network_cascades:{make.__name__}", *space.budget(1), *given)


def own_family(space: Workspace) -> dict[str, Any]:
    """Bench the main network against static ones of its architecture with the same training budget."""
    bundles = own_bundles(space, range(len(OWN_FAMILY)))
    return space.bench("own-family-bench", space.tune_and_export(main_network(space))[1], bundles)


def own_bundles(space: Workspace, which: Iterable[int]) -> list[Path]:
    """Return bundles of static networks of the main network's architecture."""
    return [space.run(f"static-{i}.eebundle", "export", own_static(space, i)) for i in which]


def own_static(space: Workspace, index: int) -> Path:
    """Train one static network of the main network's architecture."""
    return space.train(f"static-{index}.pt", OWN_FAMILY[index], "--exits", 0)


def branch_strength(space: Workspace) -> dict[str, Any]:
    """Compare strong and linear branches at equal training budget, three seeds each (AEBNAS's claim)."""
    return {
        kind: [space.tune_and_bench(comparison_network(space, kind, seed), []) for seed in range(SEEDS)]
        for kind in KINDS
    }


def comparison_network(space: Workspace, kind: str, seed: int) -> Path:
    """Train the smaller network with branches of one kind."""
    given = [part for branch in KINDS[kind] for part in ("--branch", branch)]
    return space.train(f"{kind}-{seed}.pt", COMPARED, "--at", COMPARED_TAPS, *given, "--seed", seed, share=0.2)


def certificates(space: Workspace) -> dict[str, Any]:
    """Certify on many random splits of the main network's cached logits."""
    model, path = main_network(space), space.out / "certificates.json"
    if not path.exists():
        script, cache = Path(__file__).with_name("certificates.py"), space.out / "answers.npz"
        arguments = ["--data", space.data, "--cache", str(cache), "--splits", str(space.splits)]
        command = [sys.executable, str(script), str(model), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        path.write_text(done.stdout, encoding="utf-8")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def main_network(space: Workspace) -> Path:
    """Train the network designed for exits."""
    branches = [part for branch in STRONG for part in ("--branch", branch)]
    return space.train("main.pt", NETWORK, "--at", TAPS, *branches, "--exit-weights", WEIGHTS)


def train_exits_on(
    space: Workspace, backbone: Backbone, stem: str, recipe: str, exits: int, branch: str, *options: object
) -> Path:
    """Train exits on a backbone."""
    budget = space.budget(max(1, space.epochs // 5))
    given = ("--weights", backbone.weights, *backbone.options, "--exits", exits, "--branch", branch, "--recipe", recipe)
    return space.run(f"{stem}.pt", "train", backbone.name, *budget, *given, *options)


def agreement(space: Workspace, model: Path, score: str) -> dict[str, Any]:
    """Return the mean MACs over the backbone at levels of agreement with it, on images not used for fitting."""
    costs = model_macs(load_checkpoint(model).record.spec, score)
    splits = [labelled_by_backbone(split_logits(model, space.data, s)) for s in (TEMPERATURE, THRESHOLD, TEST)]
    calibration = Calibration(tuple(fit_temperature(x, splits[0].labels) for x in splits[0].logits))
    fitted, tested = (threshold_problem(calibration, split, costs, score) for split in splits[1:])
    levels = {}
    for target in AGREEMENTS:
        cost, errors = tested.evaluate(MarginSearch(fitted, standard_errors=1).cheapest(100 - target))
        share = cost / float(sum(costs.trunk))
        levels[f"{target}"] = {"agreement": 100 * (1 - errors / tested.n), "mean_macs_over_backbone": share}
    return levels


def labelled_by_backbone(split: LabelledLogits) -> LabelledLogits:
    """Return the split with the classes of the final exit as labels."""
    return LabelledLogits(split.logits, split.logits[-1].argmax(1), split.learned)


ARMS: dict[str, Callable[[Workspace], dict[str, Any]]] = {
    "dominates": dominates,
    "in-front": in_front,
    "own-in-front": own_in_front,
    "frozen": frozen,
    "searched": searched,
    "confidence": confidence,
    "own-family": own_family,
    "branch-strength": branch_strength,
    "certificates": certificates,
}
FOR_TEN_CLASSES = ("in-front", "own-in-front")
# Training jobs of each arm, the longest first.
MODELS: dict[str, Callable[[Workspace], list[partial[Any]]]] = {
    "dominates": lambda space: [partial(main_network, space)],
    "confidence": lambda space: [
        partial(confidence_network, space, name) for name in confidence_backbones(space)[::-1]
    ],
    "own-family": lambda space: [partial(own_static, space, i) for i in reversed(range(len(OWN_FAMILY)))],
    "frozen": lambda space: [partial(frozen_network, space, name) for name in FROZEN],
    "searched": lambda space: [partial(make, space) for make in (searched_network, rule_network)],
    "branch-strength": lambda space: [partial(comparison_network, space, k, s) for k in KINDS for s in range(SEEDS)],
    "in-front": lambda space: [partial(own_static, space, 0)],
    "own-in-front": lambda space: [partial(own_static, space, i) for i in reversed(range(len(OWN_FAMILY)))],
    "certificates": lambda space: [],  # of the main network
}
