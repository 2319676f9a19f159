"""`eetool search`."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eetool.cli.artefact_arguments import check_module
from eetool.cli.options import (
    DEVICE,
    PATH,
    WEIGHTS,
    FiniteRange,
    check_table_option,
    data_choice,
    data_options,
    force_option,
    output_option,
    sizes_option,
)
from eetool.cli.output import CommandResult, say, verb_with_request, write_result
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.search_backbone import backbone_options, check_backbone_options, next_line, open_backbone_search
from eetool.cli.search_output import search_result
from eetool.cli.search_request import (
    LIMIT_OPTIONS,
    SearchRequest,
    check_study,
    search_options,
    search_target,
    sized_data,
    sized_space,
)
from eetool.cli.shell_completion import complete_hw_profile

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice
    from eetool.search.search import Search, SearchOptions, SearchTarget
    from eetool.search.search_results import Front
    from eetool.search.supernet_search import SupernetSearch

F = TypeVar("F", bound=Callable[..., Any])
_POSITIVE = FiniteRange(0, min_open=True)


def _limit_options(function: F) -> F:
    """Add the options of `LIMIT_OPTIONS`."""
    for name, (option, text) in reversed(LIMIT_OPTIONS.items()):
        function = click.option(option, f"max_{name}", type=_POSITIVE, default=None, help=text)(function)
    return function


@verb_with_request(SearchRequest)
@click.option("--space", default=None, help="mobilenetv3-cifar, mobilenetv3, resnet, or package.module:space.")
@click.option(
    "--backbone",
    default=None,
    metavar="MODEL",
    help="Instead of a space: a trained network, whose exits are searched. A reference with its --weights, or a "
    "model.pt.",
)
@data_options()
@sizes_option(
    "Sizes of images in pixels that networks may have, up to that of the data; photographs of a folder are read at the "
    "largest.  [those of the space]"
)
@click.option(
    "--device",
    type=DEVICE,
    default=None,
    shell_complete=complete_hw_profile,
    help="Device to search for: rpi4, or a hw profile.json.",
)
@click.option(
    "--objective",
    type=click.Choice(["latency_ms", "energy_mj", "macs"]),
    default=None,
    help="Cost to minimise beside the error.  [latency_ms with a --device, else macs]",
)
@_limit_options
@click.option("--min-accuracy", type=FiniteRange(0, 100), default=None, help="In percent.")
@click.option(
    "--trials",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="Candidates to evaluate; 0 trains the supernet only.",
)
@click.option(
    "--algorithm",
    type=click.Choice(["aebnas", "local", "nachos", "edanas", "nsga2", "tpe", "random"]),
    default=None,
    help="Search method.  [aebnas; local for a --backbone]",
)
@click.option("--branches", type=click.Choice(["searched", "fixed"]), default="searched", show_default=True)
@click.option("--thresholds", type=click.Choice(["tuned", "fixed"]), default="tuned", show_default=True)
@click.option(
    "--max-accuracy-drop",
    type=FiniteRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percentage points that early exits may lose against full depth.",
)
@click.option(
    "--storage",
    default=None,
    metavar="URL",
    help="postgresql://user@host/name, or grpc://host:port of a storage proxy.  [a file beside the output]",
)
@click.option("--study", default="search", show_default=True, help="Workers of one study share its trials.")
@click.option("--resume/--no-resume", default=False, help="Continue the study beside the output.")
@click.option("--supernet", type=PATH, default=None, help="File of shared weights; trained if it is missing.")
@click.option(
    "--supernet-epochs", type=click.IntRange(1), default=20, show_default=True, help="Epochs of the supernet."
)
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Batch size of the supernet.")
@click.option(
    "--weights",
    type=WEIGHTS,
    default=None,
    help="Trained weights of the --backbone, as `eetool train` takes them; with --space mobilenetv3 initial weights of "
    "Once-for-All.",
)
@backbone_options
@click.option("--learning-rate", type=_POSITIVE, default=0.1, show_default=True, help="Learning rate of the supernet.")
@click.option(
    "--examples",
    type=click.IntRange(32),
    default=8192,
    show_default=True,
    help="Examples that branches are trained on.",
)
@click.option(
    "--epochs", type=click.IntRange(0), default=4, show_default=True, help="Epochs of branches, on cached features."
)
@click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="EPOCHS",
    help="Epochs of fine-tuning per candidate; a better ranking, in minutes instead of seconds.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads of torch; the result depends on them.")
@click.option("--device-threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the device.")
@click.option("--watts", type=_POSITIVE, default=None, help="Power of the device; energy is estimated from it.")
@click.option(
    "--torch-device",
    default="cpu",
    show_default=True,
    metavar="DEVICE",
    help="Where networks are trained.",
)
@check_table_option
@output_option("The front.", default="search.front.json")
@force_option
def search(request: SearchRequest) -> CommandResult:
    """Search backbone, exits, branches and thresholds together for a device.

    With --space a supernet is trained once, and candidates inherit its weights. With --backbone your trained network
    stays as it is, and its exits are searched. Branches are trained on cached features, thresholds tuned on a split of
    their own. The cost on the device is predicted from its table, rejected branches included. `eetool train --from
    search.front.json --pick knee` trains a network of the front.
    """
    _check_request(request)
    data = sized_data(data_choice(request.data, request.shape, request.fit), request.sizes)
    data.form()
    check_study(request)
    from eetool.train.pipeline import use_threads
    from eetool.train.torch_devices import find_torch_device

    if request.threads:
        use_threads(request.threads)
    progress = TerminalProgress()
    target, options = search_target(request, progress), search_options(request)
    find_torch_device(options.torch_device)
    words: tuple[str, ...] = ()
    try:
        if request.backbone is not None:
            backbone, words = open_backbone_search(request, data, target, options, progress)
            front, found = _run(request, backbone, backbone.weights_sha256, progress)
        else:
            space = _open_space(request, data, target, options, progress)
            path, digest = _prepare_supernet(request, space, progress)
            if not request.trials:
                return CommandResult("supernet/1", {"supernet": str(path), "sha256": digest}, [f"wrote {path}"])
            front, found = _run(request, space, digest, progress)
    except KeyboardInterrupt:
        say("stopped; --resume continues, and repeats no candidate that is complete.")
        raise
    following = () if request.backbone is None else (next_line(request.output, front, words),)
    result = search_result(front, found, request.trials, following)
    write_result(request.output, result, request.force)
    return result


def _check_request(request: SearchRequest) -> None:
    """Raise an error for what cannot work, before torch is imported."""
    from eetool.artefact_kinds import SUPERNET
    from eetool.cli.artefact_hints import check_artefact
    from eetool.records import check_output
    from eetool.search.space.space_names import check_space_name

    check_backbone_options(request)
    if request.space is not None:
        check_space_name(request.space)
        if ":" in request.space:
            check_module(request.space)
        if request.weights is not None:
            check_artefact(request.weights, ("weights",), "search")
    if request.supernet is not None and request.supernet.exists():
        check_artefact(request.supernet, (SUPERNET,), "search")
    check_output(request.output, request.force)


def _open_space(
    request: SearchRequest,
    data: "DataChoice",
    target: "SearchTarget",
    options: "SearchOptions",
    progress: TerminalProgress,
) -> "SupernetSearch":
    """Return the search of a space."""
    from eetool.data.registry import load_source
    from eetool.search.space.builtin_spaces import load_space
    from eetool.search.supernet_search import SupernetSearch

    space = load_space(str(request.space))
    source = load_source(data, progress)
    if request.sizes:
        space = sized_space(space, source, request.sizes)
    return SupernetSearch(source, space, target, options)


def _prepare_supernet(request: SearchRequest, work: "SupernetSearch", progress: TerminalProgress) -> tuple[Path, str]:
    """Train or load the supernet; return its file and the hash of it."""
    from eetool.search.supernet_training import SupernetTraining

    path = request.supernet or request.output.with_name(request.output.name + ".supernet.pt")
    training = SupernetTraining(request.supernet_epochs, request.batch_size, request.learning_rate, request.seed)
    return path, work.prepare(path, training, request.weights, progress)


def _run(
    request: SearchRequest, work: "Search", weights_sha256: str, progress: TerminalProgress
) -> "tuple[Front, int]":
    """Work on the study until it is complete; return its front and the number of candidates."""
    from eetool.search.study.storage import HEARTBEAT, Storage, replaced_study

    shared = Storage(request.storage, HEARTBEAT, progress) if request.storage else None
    anew = request.force and not request.resume and shared is None
    with replaced_study(request.study_file) if anew else nullcontext():
        storage = shared or Storage(f"sqlite:///{request.study_file.absolute()}", HEARTBEAT, progress)
        candidates = work.run(storage, request.study, weights_sha256, progress)
    return work.front(candidates, request.study), len(candidates)


command = search
