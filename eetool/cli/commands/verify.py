"""`eetool verify`."""

from pathlib import Path

import click

from eetool.cli.options import BUNDLE
from eetool.cli.output import CommandResult, verb
from eetool.cli.progress_bars import TerminalProgress


@verb
@click.argument("bundle", type=BUNDLE)
def verify(bundle: Path) -> CommandResult:
    """Check the hashes of BUNDLE and repeat its parity proof on its samples, without torch.

    Variants without an installed backend are skipped and listed.
    """
    from eetool.errors import MissingError, VerificationError
    from eetool.export.parity import check_bundle
    from eetool_runtime import open_bundle
    from eetool_runtime.backends import backend_for
    from eetool_runtime.errors import BackendError, UsageError

    opened = open_bundle(bundle)
    checks, skipped = [], {}
    with TerminalProgress()("variants", len(opened.manifest.variants)) as advance:
        for variant in opened.manifest.variants:
            try:
                backend_for(variant.split("/")[0])
            except (BackendError, UsageError) as error:
                skipped[variant] = f"{error.message} ({error.hint})" if error.hint else error.message
            else:
                checks += check_bundle(opened, variant)
            advance(1)
    failed = [f"{check.what}: {check.found}" for check in checks if not check.passed]
    if failed:
        raise VerificationError(f"{bundle} does not compute what it records:\n  " + "\n  ".join(failed))
    if not checks:
        raise MissingError(f"no variant of {bundle} can be run here: {'; '.join(skipped.values())}")
    lines = [f"{len(opened.manifest.files)} files have the sizes and hashes of the manifest"]
    lines += [f"{check.what}: {check.found}" for check in checks]
    lines += [f"{variant} skipped: {reason}" for variant, reason in skipped.items()]
    document = {"bundle": str(bundle), "checks": checks, "skipped": skipped}
    return CommandResult("verify/1", document, [*lines, f"{bundle} computes what it records"])


command = verify
