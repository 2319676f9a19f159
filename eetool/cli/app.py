"""The `eetool` command: one thin file per verb, imported when the verb is used."""

import importlib
import os

import click

from eetool import __version__
from eetool.cli.output import ErrorHandlingGroup

# Threads of torch that wait by spinning fight over the cores as soon as anything else runs: on a busy two-core machine
# an epoch took 50 s with the default and 12 s with this. It must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

VERBS = {
    "train": "Train an early-exit model, or attach exits to a backbone.",
    "tune": "Fit temperatures and thresholds, make operating points.",
    "export": "Split a model into components and write a proved bundle.",
    "verify": "Check a bundle's hashes and repeat its parity proof.",
    "inspect": "Show what is inside a bundle or a model.",
    "search": "Search an architecture for a device and a budget.",
    "profile": "Measure or look up latency and energy on a device.",
    "run": "Predict files or arrays with early exit.",
    "bench": "Compare early exit with static models by the clock.",
    "report": "Make one page of what the other commands found.",
    "devices": "List the devices that eetool knows.",
    "doctor": "Say whether this machine is able.",
    "completion": "Print what makes a shell complete eetool's words.",
}


class LazyGroup(ErrorHandlingGroup):
    """Lists the verbs without importing them: `eetool --help` must not wait for torch."""

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

    train → tune → export → profile → run; every command takes --json.
    """


main = cli
