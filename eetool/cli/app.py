"""The `eetool` command: one thin file per verb, imported when the verb is used."""

import importlib
import os

import click

from eetool import __version__
from eetool.cli.output import ErrorHandlingGroup

# Threads of torch that spin while they wait slow down every other process: on a busy two-core machine an epoch took
# 50 s with the default and 12 s with this. It must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

VERBS = {
    "advise": "Forecast whether early exit can pay, before a long training.",
    "train": "Train an early-exit model, or attach exits to a backbone.",
    "cascade": "Join trained networks to one model.",
    "tune": "Fit temperatures, thresholds and operating points.",
    "export": "Split a model into components and write a verified bundle.",
    "verify": "Check a bundle's hashes and repeat its parity proof.",
    "inspect": "Show the contents of a bundle or a model.",
    "search": "Search an architecture for a device and a budget.",
    "profile": "Measure latency and energy of a bundle on a device.",
    "estimate": "Estimate latency and energy from the table of a device.",
    "table": "Build, extend or show the latency table of a device.",
    "run": "Classify files or arrays with early exit.",
    "bench": "Compare the latency of early exit with static models.",
    "report": "Make one page of the results of other commands.",
    "devices": "List the devices that have a hw profile.",
    "doctor": "Check that backends and torch work on this machine.",
    "completion": "Print the completion script of a shell.",
}


class LazyGroup(ErrorHandlingGroup):
    """Group that imports a verb only when it is used: `eetool --help` must not wait for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"eetool.cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eetool")
def cli() -> None:
    """Early-exit neural networks from training to a small CPU.

    train → tune → export → profile → run. Every command takes --json.
    """


main = cli
