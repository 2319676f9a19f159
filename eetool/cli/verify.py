"""`eetool verify`."""

from pathlib import Path

import click

from eetool.cli.console import Answer, verb
from eetool.cli.options import PATH
from eetool.errors import VerificationError


@verb
@click.argument("bundle", type=PATH)
def verify(bundle: Path) -> Answer:
    """Check the hashes of BUNDLE and repeat its parity proof on its samples, without torch."""
    from eetool.export.parity import check_bundle
    from eetool_runtime import open_bundle

    opened = open_bundle(bundle)
    checks = [check for variant in opened.manifest.variants for check in check_bundle(opened, variant)]
    failed = [f"{check.what}: {check.found}" for check in checks if not check.passed]
    if failed:
        raise VerificationError(f"{bundle} does not compute what it records:\n  " + "\n  ".join(failed))
    lines = [f"{len(opened.manifest.files)} files have the sizes and hashes of the manifest"]
    lines += [f"{check.what}: {check.found}" for check in checks]
    return Answer("verify/1", {"bundle": str(bundle), "checks": checks}, [*lines, f"{bundle} is what it says"])


command = verify
