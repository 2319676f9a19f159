"""`eetool devices`."""

import click

from eetool.cli.options import DEVICE
from eetool.cli.output import CommandResult, table, verb
from eetool.cli.shell_completion import complete_hw_profile
from eetool.cli.table_output import conditions, coverage_words, device_result, table_coverage


@verb
@click.argument("name", type=DEVICE, required=False, shell_complete=complete_hw_profile)
def devices(name: str | None) -> CommandResult:
    """List the known devices, or print the hw profile of the device or file NAME."""
    return _list_devices() if name is None else device_result(name)


def _list_devices() -> CommandResult:
    from eetool.latency.table.hw_profile import known_devices
    from eetool_measure.machine import read_machine

    machine, known = read_machine(), known_devices()
    listed = [
        {
            "name": d.name,
            "title": d.title,
            "aliases": d.aliases,
            "power": d.power,
            "table_entries": {"measured": d.entries("measured"), "fitted": d.entries("fitted")},
            "regressions": len(d.regressions),
            "conditions": [conditions(c) for c in d.compositions],
            "kernels": table_coverage(d),
        }
        for d in known
    ]
    rows = [(d.name, d.title, coverage_words(d), ", ".join(sorted({p.state for p in d.power})) or "–") for d in known]
    text = [
        f"host: this machine, {machine.cpu or machine.architecture}, measured on demand",
        table(dict.fromkeys(("device", "hardware", "latency table", "power"), "left"), rows),
        "`eetool devices NAME` lists backend, precision and threads of a table",
    ]
    return CommandResult("devices/1", {"machine": machine, "devices": listed}, text)


command = devices
