"""Check of a checkpoint before it is traced: each sample has one answer, alone as on a device and in a batch."""

from eetool.errors import VerificationError
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.network_check.inference import find_fault
from eetool.model.references.reference_check import is_built_in


def build_checked(checkpoint: Checkpoint) -> EarlyExitNet:
    """Build the network of `checkpoint` in eval mode; eetool's own networks have tests of their own.

    Raises:
        VerificationError: an answer depends on more than its input; the message names the exit and the module.
        ArtefactError: the tensors do not fit the spec.
    """
    net = checkpoint.build()
    spec = checkpoint.record.spec
    if not all(is_built_in(part.backbone) for part in spec.parts):
        fault = find_fault(net, {i.name: checkpoint.samples[i.name] for i in spec.inputs}, fresh=False)
        if fault is not None:
            raise VerificationError(f"{spec.title}: {fault.reason}", fault.hint)
    return net
