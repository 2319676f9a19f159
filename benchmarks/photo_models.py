"""Models of `photos.py`: static networks, exits inside one, cascades of resolutions, and the choice among them.

Every network starts from published weights of ImageNet, which stay. The classifier is a logistic regression on features
of the training photographs, and exits are trained on stored features of the frozen network.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from photo_steps import Folder, Step

DATA = "folder:photographs"
LITE0, QUARTER, HALF = "efficientnet-lite0", "mobilenetv1-0.25", "mobilenetv1-0.5"
FULL_SIZE = "lite0-224"
# Normalisation of published EfficientNet-Lite: (x - 127) / 128 of pixels from 0 to 255.
_LITE0_PIXELS = "0.498039/0.501961"
EPOCHS = 30
# Accuracy that may be lost against the unsplit network at 224 pixels, in points.
INSIDE_DROP, CASCADE_DROP = 1.0, 0.5
DROPS = ("--max-accuracy-drop", 1, "--drops", "2,3")
VARIANTS = ("--format", "onnx", "--format", "tflite", "--precision", "fp32", "--precision", "int8")


@dataclass(frozen=True)
class Network:
    """A network of published weights at one size of photographs."""

    name: str
    reference: str
    size: int


NETWORKS = (
    Network("mobilenetv1-0.25-128", QUARTER, 128),
    Network("lite0-128", LITE0, 128),
    Network("mobilenetv1-0.5-160", HALF, 160),
    Network("lite0-160", LITE0, 160),
    Network("lite0-192", LITE0, 192),
    Network(FULL_SIZE, LITE0, 224),
)


@dataclass(frozen=True)
class Exits:
    """A network with exits: those that `eetool advise` chooses, or linear ones at the taps `at`."""

    name: str
    base: str
    at: tuple[str, ...] = ()


INSIDE = (Exits("inside-linear", FULL_SIZE, ("blocks.8", "blocks.11", "blocks.13")), Exits("inside-advised", FULL_SIZE))
FRONTS = (
    Exits("lite0-128-linear", "lite0-128", ("blocks.8", "blocks.11")),
    Exits("lite0-128-advised", "lite0-128"),
    Exits("lite0-160-linear", "lite0-160", ("blocks.8", "blocks.11")),
)


@dataclass(frozen=True)
class Cascade:
    """Networks in a row, which add up their logits where they answer `together`."""

    name: str
    members: tuple[str, ...]
    together: bool


def _both(name: str, *members: str) -> list[Cascade]:
    return [Cascade(name, members, False), Cascade(f"{name}-together", members, True)]


# The last network has no exits of its own, or those that `eetool advise` chose.
_LAST = {"224": FULL_SIZE, "224-advised": "inside-advised"}
CASCADES = tuple(
    cascade
    for front in FRONTS
    for last, name in _LAST.items()
    for cascade in _both(f"{front.name}-then-{last}", front.name, name)
)
THREE = tuple(_both("three", "mobilenetv1-0.25-128", "lite0-128", FULL_SIZE))


@dataclass(frozen=True)
class Weights:
    """Files of published weights by reference."""

    folder: Path

    def of(self, network: Network) -> Path:
        """Return the file of a network."""
        files = {
            LITE0: "imagenet_efficientnet_lite0_224.safetensors",
            QUARTER: "imagenet_mobilenet_v1_0.25_128.safetensors",
            HALF: "imagenet_mobilenet_v1_0.5_160.safetensors",
        }
        return self.folder / files[network.reference]


def train_network(folder: Folder, network: Network, weights: Weights) -> None:
    """Write a network with a classifier for the photographs."""
    given = ("--weights", weights.of(network), "--new-classifier")
    common = ("--data", f"{DATA}@{network.size}", "--epochs", 0, "--exits", 0)
    folder.make(f"{network.name}.pt", "train", network.reference, *given, *common)


def train_exits(folder: Folder, exits: Exits) -> None:
    """Write a network with exits on its frozen backbone."""
    network = next(one for one in NETWORKS if one.name == exits.base)
    data, base = ("--data", f"{DATA}@{network.size}"), f"{exits.base}.pt"
    taps, branches = list(exits.at), ["linear"] * len(exits.at)
    if not taps:
        search = ("--exits", 2, "--max-accuracy-drop", 1)
        advice = folder.make(f"{exits.name}.advice.json", "advise", base, *data, *search).document
        taps, branches = [at["tap"] for at in advice["exits"]], [at["branch"] for at in advice["exits"]]
    attached = ("--at", ",".join(taps), *(word for branch in branches for word in ("--branch", branch)))
    recipe = ("--recipe", "frozen", "--epochs", EPOCHS, "--augment", "none", "--threads", 1)
    given = ("--weights", base, "--normalise", _LITE0_PIXELS)
    folder.make(f"{exits.name}.pt", "train", network.reference, *data, *given, *attached, *recipe)


def join(folder: Folder, cascade: Cascade) -> None:
    """Write a cascade; weights of sums are fitted on held-out photographs."""
    fit(folder, f"{cascade.name}.pt", cascade)


def fit(folder: Folder, output: str, cascade: Cascade, *options: object) -> Step:
    """Return the step that joins the networks of a cascade."""
    members = [f"{name}.pt" for name in cascade.members]
    fitted = ("--data", DATA) if cascade.together or options else ()
    together = ("--together",) if cascade.together else ()
    return folder.make(output, "cascade", *members, *fitted, *together, *options)


def tune(folder: Folder, name: str) -> dict[str, Any]:
    """Return what `eetool tune` expects of every operating point of a model."""
    model = f"{name}.pt"
    step = folder.make(f"{name}.tuned.pt", "tune", model, "--data", DATA, *DROPS)
    points: dict[str, Any] = step.document["operating_points"]
    return points


def export(folder: Folder, name: str, tuned: bool, variants: Iterable[object]) -> str:
    """Return the bundle of a model, with every component of int8 that is accurate, however fast it is here."""
    model = f"{name}.tuned.pt" if tuned else f"{name}.pt"
    folder.make(f"{name}.eebundle", "export", model, *variants, "--no-judge-speed")
    return f"{name}.eebundle"


@dataclass(frozen=True)
class Tried:
    """One operating point of one form, with what `tune` expects of it on held-out photographs."""

    form: str
    point: str
    accuracy: float
    macs: float
    shares: tuple[float, ...]


def tried_points(folder: Folder, form: str) -> list[Tried]:
    """Return the operating points of a tuned form."""
    return [
        Tried(form, name, at["expected"]["accuracy"], at["expected"]["mean_macs"], tuple(at["expected"]["exit_shares"]))
        for name, at in tune(folder, form).items()
    ]


def choose(tried: Iterable[Tried], reference: Tried, drop: float) -> Tried:
    """Return the point of the fewest MACs that loses at most `drop` points against the reference.

    Accuracies are those expected on new photographs, from held-out ones. Where no point keeps the drop, it is the most
    accurate one.
    """
    points = list(tried)
    kept = [point for point in points if point.accuracy >= reference.accuracy - drop / 100]
    if not kept:
        return max(points, key=lambda point: (point.accuracy, -point.macs))
    return min(kept, key=lambda point: (point.macs, -point.accuracy))
