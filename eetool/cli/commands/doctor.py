"""`eetool doctor`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table, verb
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.profile.environment_check import EnvironmentReport, LibraryCheck


@verb
def doctor() -> CommandResult:
    """Check that backends, torch and extras work on this machine, and what would disturb a measurement."""
    from eetool.errors import MissingError
    from eetool.profile.environment_check import SCHEMA, check_environment

    environment = check_environment()
    missing = environment.missing
    problem = MissingError(f"{missing[0].name}: {missing[0].problem}", missing[0].hint) if missing else None
    return CommandResult(SCHEMA, vars(environment), _text(environment), problem)


def _text(environment: "EnvironmentReport") -> list[Any]:
    m = environment.machine
    machine = {
        "processor": m.cpu or m.architecture,
        "board": m.board,
        "system": f"{m.os}, {m.architecture}, Python {m.python}, numpy {m.numpy}",
        "cores": str(m.cores),
        "governor": m.governor,
        "power meters": ", ".join(environment.meters) or "none; eetool profile --power lists the possible ones",
        "ssh": "installed" if environment.ssh else "not installed: no eetool profile --device ssh://",
    }
    packages = [
        (extra, ", ".join(f"{name} {version or '–'}" for name, version in names.items()))
        for extra, names in environment.packages.items()
    ]
    broken = [check for check in environment.checks if not check.ok]
    settings = ", ".join(f"{name}={value}" for name, value in environment.settings.items() if value is not None)
    return [
        ", ".join(f"{name} {version}" for name, version in environment.versions.items()),
        *(f"{name}: {value or 'not readable'}" for name, value in machine.items()),
        f"thread settings: {settings or 'none in the environment'}",
        table({"library": "left", "": "left", "version": "left"}, [_row(check) for check in environment.checks]),
        *(f"{check.name}: {check.problem}" + (f" ({check.hint})" if check.hint else "") for check in broken),
        table({"extra": "left", "packages": "left"}, packages),
        *(f"note: {note}" for note in environment.notes),
    ]


def _row(check: "LibraryCheck") -> tuple[str, str, str]:
    if check.ok:
        return check.name, "ok", f"{check.version}" + (f", {counted(check.threads, 'thread')}" if check.threads else "")
    state = "missing" if check.needed else "not installed"
    return check.name, state, "see below"


command = doctor
