"""`eetool doctor`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table, verb

if TYPE_CHECKING:
    from eetool.profile.environment_check import EnvironmentReport, LibraryCheck


@verb
def doctor() -> CommandResult:
    """Say whether this machine is able: backends, torch, extras, and what would disturb a measurement."""
    from eetool.errors import MissingError
    from eetool.profile.environment_check import SCHEMA, check_environment

    found = check_environment()
    missing = found.missing
    problem = MissingError(f"{missing[0].name}: {missing[0].problem}", missing[0].hint) if missing else None
    return CommandResult(SCHEMA, vars(found), _text(found), problem)


def _text(found: "EnvironmentReport") -> list[Any]:
    m = found.machine
    machine = {
        "processor": m.cpu or m.architecture,
        "board": m.board,
        "system": f"{m.os}, {m.architecture}, Python {m.python}, numpy {m.numpy}",
        "cores": str(m.cores),
        "governor": m.governor,
        "power meters": ", ".join(found.meters) or "none; --power lists what there could be",
        "ssh": "there" if found.ssh else "not there: no --device ssh://",
    }
    packages = [
        (extra, ", ".join(f"{name} {version or '–'}" for name, version in names.items()))
        for extra, names in found.packages.items()
    ]
    broken = [check for check in found.checks if not check.ok]
    settings = ", ".join(f"{name}={value}" for name, value in found.settings.items() if value is not None)
    return [
        ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        *(f"{name}: {value or 'not readable'}" for name, value in machine.items()),
        f"thread settings: {settings or 'none in the environment'}",
        table({"tried": "left", "": "left", "what": "left"}, [_row(check) for check in found.checks]),
        *(f"{check.name}: {check.problem}" + (f" ({check.hint})" if check.hint else "") for check in broken),
        table({"extra": "left", "packages": "left"}, packages),
        *(f"note: {note}" for note in found.notes),
    ]


def _row(check: "LibraryCheck") -> tuple[str, str, str]:
    if check.ok:
        return check.name, "ok", f"{check.version}" + (f", {check.threads} threads" if check.threads else "")
    state = "missing" if check.needed else "not there"
    return check.name, state, "see below"


command = doctor
