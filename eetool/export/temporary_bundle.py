"""Temporary bundle of a checkpoint, for predictions of networks that the graph recorder cannot record."""

from collections.abc import Iterator
from contextlib import contextmanager

from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.model.checkpoint import Checkpoint
from eetool.workspace import scratch
from eetool_runtime import open_bundle
from eetool_runtime.bundle import Bundle


@contextmanager
def temporary_bundle(checkpoint: Checkpoint, name: str) -> Iterator[Bundle]:
    """Export `checkpoint` to a bundle that exists as long as the block.

    Raises:
        ArtefactError: the network cannot be traced or converted.
        VerificationError: the bundle differs from the model.
    """
    with scratch() as folder:
        path = folder / f"{name}.eebundle"
        export_bundle(checkpoint, path, ExportOptions(references=False))
        yield open_bundle(path)
