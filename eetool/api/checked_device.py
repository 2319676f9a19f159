"""Hw profile of a device as fast as it is now: a table of this machine is checked before it is used.

The document of a check is kept in the cache for some minutes, so that the commands of one sitting measure once. Checks
that were rejected are not kept.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.progress import SILENT, Progress

if TYPE_CHECKING:
    from eetool.latency.check.table_check import Conditions, TableCheck
    from eetool.latency.table.hw_profile import HwProfile

VALID_SECONDS = 600.0


def at_present_speed(
    device: str, profile: HwProfile, conditions: Conditions, progress: Progress = SILENT
) -> tuple[HwProfile, tuple[str, ...]]:
    """Return the profile of a device at its present speed, and what the check found.

    Only a profile in a file, of this machine, with reference probes of these conditions is checked. Shipped profiles
    and those of other machines are returned as they are.

    Args:
        device: name of the device, or path of its profile.
        profile: the profile.
        conditions: backend, precision and thread count that are asked for.
        progress: receives a note while the check runs.
    """
    from eetool.latency.check.correction import check_remarks, correct_profile

    check = present_check(device, profile, conditions, progress)
    if check is None:
        return profile, ()
    return correct_profile(profile, check), check_remarks(check)


def present_check(
    device: str, profile: HwProfile, conditions: Conditions, progress: Progress = SILENT
) -> TableCheck | None:
    """Return the check of a table, of the last minutes or made now; None where `at_present_speed` makes none."""
    from eetool.latency.check.table_check import is_of_machine, reference_conditions
    from eetool.latency.table.hw_profile import is_profile_file
    from eetool_measure.machine import read_machine

    if not is_profile_file(device) or conditions not in reference_conditions(profile):
        return None
    if not is_of_machine(profile, read_machine()):
        return None
    return recent_check(profile, conditions) or _check_now(profile, conditions, progress)


def recent_check(profile: HwProfile, conditions: Conditions) -> TableCheck | None:
    """Return the check of a table in the last minutes; None where there is none."""
    from eetool.errors import ArtefactError
    from eetool.latency.check.table_check import SCHEMA, TableCheck
    from eetool.records import read_record

    path = _cache_file(profile, conditions)
    if not path.is_file():
        return None
    try:
        check = read_record(TableCheck, path, SCHEMA)
    except ArtefactError:  # of another version
        return None
    return check if 0 <= time.time() - check.checked_at <= VALID_SECONDS else None


def keep_check(profile: HwProfile, check: TableCheck) -> None:
    """Keep each part of a check for the next commands, without those that were rejected."""
    from dataclasses import replace

    from eetool.errors import OutputError

    for part in check.conditions:
        if part.reasons:
            continue
        path = _cache_file(profile, part.conditions)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_check(path, replace(check, conditions=(part,)))
        except (OSError, OutputError):  # without a cache the next command measures again
            return


def write_check(path: Path, check: TableCheck) -> None:
    """Write the document of a check, in place of an earlier one."""
    from eetool.latency.check.table_check import SCHEMA
    from eetool.records import canonical, write_atomic
    from eetool_measure.records import encode

    write_atomic(path, canonical({"schema": SCHEMA, **encode(check)}).encode(), force=True)


def _check_now(profile: HwProfile, conditions: Conditions, progress: Progress) -> TableCheck:
    from eetool.latency.check.table_check import check_table
    from eetool.profile.local_runner import run_measure

    progress.note(f"checking the table of {profile.name} by its reference probes (--no-check-table leaves it out)")
    check = check_table(profile, [conditions], run_measure)
    keep_check(profile, check)
    return check


def _cache_file(profile: HwProfile, conditions: Conditions) -> Path:
    from eetool.data.readers.download import cache_folder
    from eetool.records import canonical

    identity = canonical([profile.name, profile.references, profile.sources, list(conditions)])
    return cache_folder() / "table_checks" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
