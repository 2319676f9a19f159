"""`eetool devices`."""

from eetool.cli.console import Answer, table, verb


@verb
def devices() -> Answer:
    """List the devices that eetool knows, and what it knows of each."""
    from eetool.profile.device import known_devices
    from eetool_runtime.machine import read_machine

    machine, known = read_machine(), known_devices()
    listed = [
        {
            "name": d.name,
            "title": d.title,
            "aliases": d.aliases,
            "power": d.power,
            "table_entries": {"measured": d.entries("measured"), "fitted": d.entries("fitted")},
        }
        for d in known
    ]
    rows = [("host", f"this machine: {machine.cpu or machine.architecture}", "measured on demand", "–")]
    rows += [
        (d.name, d.title, _entries(len(d.table)), ", ".join(sorted({p.state for p in d.power})) or "–") for d in known
    ]
    columns = dict.fromkeys(("device", "what it is", "latency", "power figures"), "left")
    return Answer("devices/1", {"machine": machine, "devices": listed}, [table(columns, rows)])


def _entries(count: int) -> str:
    return f"{count} table entries" if count else "table is empty"


command = devices
