"""Options that messages and hints name: each exists in a command that can raise them."""

import pytest

from eetool.cli.app import VERBS
from tests.helpers.hints import (
    OPTION,
    ROOT,
    foreign_options,
    modules_of_commands,
    options_by_command,
    options_of_commands_in,
    texts_with_options,
)

# Options of other programs in command lines that eetool writes, and of eetool itself.
MEASURE = {"--pool", "--seed", "--threads", "--runs", "--min-seconds", "--power", "--power-seconds", "--power-scope"}
OTHERS = {
    "eetool/profile/": MEASURE | {"--variant", "--watts", "--sustained-seconds", "--progress"},
    "eetool/latency/build/probe_measurement.py": MEASURE,
    "eetool/advise/network.py": {"--input", "--fit"},  # of eetool train
    "eetool/advise/next_commands.py": {"--at", "--branch", "--recipe", "--learning-rate"},  # of eetool train
    "eetool/report/next_steps.py": {
        *("--max-accuracy-drop", "--min-seconds", "--new-data", "--passes", "--precision", "--profile", "--variant"),
    },
    "eetool/cli/": {"--help", "--version"},
    "eetool/cli/search_backbone.py": {"--from", "--pick", "--recipe"},  # of eetool train
    "eetool/cli/server_options.py": {"--offload-"},  # and the name of an option
    "eetool/profile/link_profile.py": {"--offload", "--wire", "--repository"},  # of eetool export
    "eetool/microcontroller/arena_measurement.py": {"--pre"},  # of pip
    "eetool/microcontroller/vela.py": {
        *("--output-dir", "--accelerator-config", "--config", "--system-config", "--memory-mode"),
    },
}


def test_options_in_messages_exist_in_a_command_that_reaches_the_module() -> None:
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "eetool").rglob("*.py"))}
    reached, options = modules_of_commands(sources), options_by_command()
    unknown = []
    for path, source in sources.items():
        users = [c.rpartition("/")[2].removesuffix(".py") for c, found in reached.items() if path in found]
        own = [found for name, found in options.items() if name.split()[0] in (users or VERBS)]
        usable = set().union(*own, *(extra for place, extra in OTHERS.items() if path.startswith(place)))
        for text in texts_with_options(source):
            unknown += [(path, o) for o in OPTION.findall(text) if o not in usable | options_of_commands_in(text)]
    assert not unknown, "\n".join(map(str, unknown))


@pytest.mark.parametrize(
    ("hint", "arguments", "foreign"),
    [
        ("Give another --input.", ["train", "--input", "1x3x8x8"], []),
        ("Give another --epochs.", ["tune", "model.pt"], ["--epochs"]),
        ("Export with --no-simplify.", ["tune", "model.pt"], []),
        ("Measure it: eetool profile --power METER, then --watts W.", ["tune"], []),
        ("--resume continues it, --force starts anew.", ["table", "build"], []),
        ("--resume continues it.", ["table", "show", "host"], ["--resume"]),
    ],
)
def test_foreign_options_are_those_of_no_command_at_hand(hint: str, arguments: list[str], foreign: list[str]) -> None:
    assert foreign_options(hint, arguments) == foreign
