"""The trained network of `eetool search --backbone`, and the options that only it or only a space takes."""

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eetool.cli.number_lists import parse_normalisation
from eetool.cli.options import REFERENCE_OR_CHECKPOINT, named_option
from eetool.cli.search_request import SearchRequest

if TYPE_CHECKING:
    from pathlib import Path

    from eetool.cli.progress_bars import TerminalProgress
    from eetool.data.image_form import DataChoice
    from eetool.search.backbone_search import BackboneSearch
    from eetool.search.search import SearchOptions, SearchTarget
    from eetool.search.search_results import Front

F = TypeVar("F", bound=Callable[..., Any])


def backbone_options(function: F) -> F:
    """Add the options that a backbone takes beside its weights."""
    function = named_option(function)
    function = click.option(
        "--hold-out",
        type=click.Choice(["train", "test"]),
        default=None,
        help="Of a --backbone: origin of the held-out examples; test for weights that were trained on all training "
        "images.  [that of a model.pt, or train]",
    )(function)
    function = click.option(
        "--normalize",
        "--normalise",
        "normalisation",
        default=None,
        metavar="imagenet|half|dataset|none|M,M,M/S,S,S",
        help="Of a --backbone: mean and standard deviation of pixels that its weights expect, as in `eetool train`.",
    )(function)
    return click.option(
        "--weights-key", default=None, metavar="KEY", help="Of several networks in the file, where that one lies."
    )(function)


def check_backbone_options(request: SearchRequest) -> None:
    """Raise UsageError where options contradict each other; before torch is imported."""
    from eetool.errors import UsageError

    if (request.space is None) == (request.backbone is None):
        raise UsageError("search takes either --space or --backbone", "Give one of them.")
    given = {
        "--weights-key": request.weights_key,
        "--normalize": request.normalisation,
        "--hold-out": request.hold_out,
        "--model": request.named or None,
    }
    useless = [option for option, value in given.items() if value is not None]
    if request.space is not None and useless:
        raise UsageError(f"{useless[0]} is for a --backbone", "Leave it out: a space is trained on the data.")
    if request.backbone is None:
        return
    REFERENCE_OR_CHECKPOINT.convert(request.backbone, None, click.get_current_context())
    if request.supernet is not None:
        raise UsageError("--supernet is for a --space", "Leave it out: a backbone has weights of its own.")
    if request.sizes:
        raise UsageError("--sizes is for a --space", "`eetool advise --sizes` judges a trained network at other sizes.")
    if not request.trials:
        raise UsageError("--trials 0 trains the supernet of a --space", "Give the number of networks to evaluate.")
    if request.weights_key is not None and request.weights is None:
        raise UsageError("--weights-key without --weights", "Give both, or neither.")
    parse_normalisation("--normalize", request.normalisation)


def open_backbone_search(
    request: SearchRequest,
    data: "DataChoice",
    target: "SearchTarget",
    options: "SearchOptions",
    progress: "TerminalProgress",
) -> "tuple[BackboneSearch, tuple[str, ...]]":
    """Return the search, and the options of `eetool train` that bring the same network and examples."""
    from eetool.advise.network import NetworkChoice, expect_published, images_form, open_network
    from eetool.advise.trial_exits import find_taps
    from eetool.data.registry import load_source
    from eetool.search.backbone_search import BackboneSearch
    from eetool.search.evaluation.backbone_features import TappedBackbone

    choice = NetworkChoice(
        model=str(request.backbone),
        data=data,
        weights=request.weights,
        weights_key=request.weights_key,
        normalise=request.normalisation,
        normalisation=parse_normalisation("--normalize", request.normalisation),
        hold_out=request.hold_out,
        named=request.named,
    )
    choice = expect_published(choice)
    source = load_source(data, progress, images_form(choice))
    network = open_network(choice, source, progress)
    backbone = TappedBackbone(network.spec, network.net, tuple(find_taps(network.net.backbone, network.spec)))
    search = BackboneSearch(backbone, source, network.hold_out, network.statistics, target, options, progress)
    named = () if network.named is None else ("--model", network.named)
    held_out = () if network.hold_out == "train" else ("--hold-out", network.hold_out)
    return search, (*network.weight_options, "--data", data.name, *network.size_options, *held_out, *named)


def next_line(output: "Path", front: "Front", options: tuple[str, ...]) -> str:
    """Return the command that trains the exits of the cheapest network within the accuracy drop, or of the knee.

    Where that network has no early exits, the line says so instead.
    """
    pick = "knee" if front.cheapest is None else "cheapest"
    chosen = front.cheapest or front.knee
    if not next(candidate for candidate in front.front if candidate.id == chosen).taps:
        return "no early exit pays here: the network of the least cost within the accuracy drop has none"
    words = ("eetool", "train", "--from", str(output), "--pick", pick, *options, "--recipe", "frozen")
    return f"next: {shlex.join((*words, '-o', 'early_exit.pt'))}"
