"""`eetool search`."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.options import PATH, FiniteRange, data_option, force_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, say, table, verb, write_result
from eetool.cli.shell_completion import complete_device

if TYPE_CHECKING:
    from eetool.search.search_results import Front

_POSITIVE = FiniteRange(0, min_open=True)
_LIMITS = {
    "macs": ("--max-macs", "Mean multiply-accumulates, such as 2.5e6."),
    "latency_ms": ("--max-latency-ms", "Mean latency on the device."),
    "energy_mj": ("--max-energy-mj", "Mean energy on the device."),
    "worst_macs": ("--max-worst-macs", "Multiply-accumulates at full depth."),
    "worst_latency_ms": ("--max-worst-latency-ms", "Latency at full depth."),
    "parameters": ("--max-parameters", "Weights of the network."),
    "peak_memory_bytes": ("--max-peak-memory-bytes", "Weights and living activations, batch 1."),
}


def _limit_options(function: Any) -> Any:
    for name, (option, text) in reversed(_LIMITS.items()):
        function = click.option(option, f"max_{name}", type=_POSITIVE, default=None, help=text)(function)
    return function


@verb
@click.option("--space", required=True, help="mobilenetv3-cifar, mobilenetv3, resnet, or package.module:space.")
@data_option()
@click.option(
    "--device",
    default=None,
    shell_complete=complete_device,
    help="Whose latency and energy count: rpi4, or a hw profile.json.",
)
@click.option(
    "--objective",
    type=click.Choice(["latency_ms", "energy_mj", "macs"]),
    default=None,
    help="What is to be small beside the error.  [latency_ms with a --device, else macs]",
)
@_limit_options
@click.option("--min-accuracy", type=FiniteRange(0, 100), default=None, help="In percent.")
@click.option("--trials", type=click.IntRange(0), default=60, show_default=True, help="Candidates; 0: supernet only.")
@click.option(
    "--algorithm",
    type=click.Choice(["aebnas", "nachos", "edanas", "nsga2", "tpe", "random"]),
    default="aebnas",
    show_default=True,
)
@click.option("--branches", type=click.Choice(["searched", "fixed"]), default="searched", show_default=True)
@click.option("--thresholds", type=click.Choice(["tuned", "fixed"]), default="tuned", show_default=True)
@click.option(
    "--max-accuracy-drop",
    type=FiniteRange(0, 100),
    default=1.0,
    show_default=True,
    help="Points that a candidate's gates may lose against its full depth.",
)
@click.option("--storage", default=None, metavar="URL", help="postgresql://user@host/name.  [a file beside the output]")
@click.option("--study", default="search", show_default=True, help="Workers that name the same study share its work.")
@click.option("--resume/--no-resume", default=False, help="Go on with the study beside the output.")
@click.option("--supernet", type=PATH, default=None, help="Shared weights; trained into this file where it is missing.")
@click.option("--supernet-epochs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Of the supernet.")
@click.option("--weights", type=PATH, default=None, help="Begin the supernet with Once-for-All's MobileNetV3.")
@click.option("--learning-rate", type=_POSITIVE, default=0.1, show_default=True, help="Of the supernet.")
@click.option("--examples", type=click.IntRange(32), default=8192, show_default=True, help="Images for branches.")
@click.option("--epochs", type=click.IntRange(0), default=4, show_default=True, help="Of branches, on cached features.")
@click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="EPOCHS",
    help="Of each candidate's own weights, branches included; better choices, for minutes instead of seconds.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads of torch; the result depends on them.")
@click.option("--device-threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the device.")
@click.option("--watts", type=_POSITIVE, default=None, help="What the device draws; energy is estimated from it.")
@click.option(
    "--torch-device", default="cpu", show_default=True, metavar="DEVICE", help="Where supernet and candidates learn."
)
@output_option("Where the front goes.", default="search.front.json")
@force_option
def search(space: str, data: str, output: Path, force: bool, resume: bool, **options: Any) -> CommandResult:
    """Search backbone, exits, branches and thresholds together for a device.

    A supernet is trained once; candidates inherit its weights, their branches are trained on cached features, their
    thresholds tuned on a split of their own, and their cost on the device is predicted from its table, with every
    rejected branch charged. `eetool train --from search.front.json --pick knee` trains what was found.
    """
    from eetool.records import check_output

    check_output(output, force)
    beside = output.with_name(output.name + ".study.db")
    if options["storage"] is None:
        _refuse_study(beside, resume or force)
    from eetool.data.registry import load_source
    from eetool.search.search import Search
    from eetool.search.space.builtin_spaces import load_space
    from eetool.search.study.storage import HEARTBEAT, Storage, replaced_study
    from eetool.search.supernet_training import SupernetTraining
    from eetool.train.pipeline import use_threads

    if options["threads"]:
        use_threads(options["threads"])
    progress = TerminalProgress()
    found = Search(load_source(data), load_space(space), _target(options), _options(options))
    shared = Storage(options["storage"], HEARTBEAT, progress) if options["storage"] else None
    path = options["supernet"] or output.with_name(output.name + ".supernet.pt")
    shrinking = SupernetTraining(*(options[n] for n in ("supernet_epochs", "batch_size", "learning_rate", "seed")))
    try:
        digest = found.prepare(path, shrinking, options["weights"], progress)
        if not options["trials"]:
            return CommandResult("supernet/1", {"supernet": str(path), "sha256": digest}, [f"wrote {path}"])
        anew = force and not resume and shared is None
        with replaced_study(beside) if anew else nullcontext():
            storage = shared or Storage(f"sqlite:///{beside.absolute()}", HEARTBEAT, progress)
            candidates = found.run(storage, options["study"], digest, progress)
    except KeyboardInterrupt:
        say("stopped; --resume goes on, and repeats no candidate that is complete.")
        raise
    answer = _answer(found.front(candidates, options["study"]), output, len(candidates), options["trials"])
    write_result(output, "search", answer, force)
    return answer


def _refuse_study(beside: Path, wanted: bool) -> None:
    from eetool.errors import OutputError
    from eetool.workspace import clear_leftovers

    clear_leftovers(beside)  # a run that was killed may have moved a study aside
    if beside.exists() and not wanted:
        raise OutputError(f"{beside} holds a study", "--resume goes on with it, --force starts anew.")


def _target(options: dict[str, Any]) -> Any:
    from eetool.latency.table.hw_profile import load_device
    from eetool.search.search import SearchTarget

    profile = load_device(options["device"]) if options["device"] else None
    return SearchTarget(profile, threads=options["device_threads"], watts=options["watts"])


def _options(options: dict[str, Any]) -> Any:
    from eetool.search.search import SearchOptions

    limits = {name: options[f"max_{name}"] for name in _LIMITS if options[f"max_{name}"] is not None}
    if options["min_accuracy"] is not None:
        limits["min_accuracy"] = options["min_accuracy"] / 100
    same = [
        *("algorithm", "trials", "seed", "objective", "branches", "thresholds"),
        *("max_accuracy_drop", "examples", "epochs", "fine_tune", "torch_device"),
    ]
    return SearchOptions(**{name: options[name] for name in same}, limits=limits)


def _answer(front: "Front", output: Path, evaluated: int, asked: int) -> CommandResult:
    rows = [
        (
            f"{c.id}{' knee' if c.id == front.knee else ''}",
            percent(c.figures.accuracy, 2),
            f"{c.figures.macs / 1e6:.2f}",
            milliseconds(c.figures.latency_ms),
            milliseconds(c.figures.energy_mj),
            f"{c.figures.parameters / 1e6:.2f}",
            shares(c.figures.exit_shares),
        )
        for c in front.front
    ]
    right = ("acc %", "MACs (M)", "ms", "mJ", "weights (M)", "exits %")
    knee = next(c for c in front.front if c.id == front.knee)
    where = f"predicted for {front.device}, " if front.device else ""
    text: list[Any] = [
        f"{front.evaluated} candidates of {front.space.name}, {front.feasible} within the limits; the front:",
        table({"id": "left", **dict.fromkeys(right, "right")}, rows),
        f"branches at the knee: {' '.join(knee.branches) or 'none'}",
        f"{where}means over {front.front[0].figures.n} examples of the training split that no weight or threshold saw",
        *(f"warning: {warning}" for warning in front.warnings),
        *(
            [f"no more than {evaluated} networks were found that the space has and the limits admit"]
            if evaluated < asked
            else []
        ),
        f"wrote {output}",
    ]
    return CommandResult("search/1", vars(front), text)


command = search
