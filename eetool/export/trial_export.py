"""Trial export of a network before it is trained: whether its converted graph computes what torch computes."""

from collections.abc import Sequence
from dataclasses import replace

from eetool.errors import ArtefactError, VerificationError
from eetool.export.operator_check import answers_differ, naming_operator
from eetool.export.traced_model import trace_model
from eetool.export.variants import FP32, INT8, TFLM, find_variants
from eetool.model.checkpoint import Checkpoint
from eetool.model.network_check.network_copy import without_small_weights


def trial_export(start: Checkpoint, formats: Sequence[str], hint: str) -> None:
    """Trace the network once, convert it to each of `formats`, and compare its answers with torch's.

    Args:
        start: a network with initial weights. Those near zero are replaced, as they would hide operators.
        formats: `onnx`, `tflite`, `tflm`.
        hint: remedy for the user.

    Raises:
        MissingError: a converter is not installed.
        ArtefactError: torch.export cannot trace the network, or a converter fails; the message names the operator.
        VerificationError: an exit answers differently; the message names the first operator that does.
    """
    names = (f"{name}/{INT8 if name == TFLM else FP32}" for name in formats)
    kinds = [kind.base for kind in find_variants(tuple(names))]
    model = trace_model(replace(start, state=without_small_weights(start.state)), references=False)
    backbone = start.record.spec.backbone
    for kind in kinds:
        try:
            with naming_operator(lambda: model, kind):
                if answers_differ(model, kind):
                    raise VerificationError(f"{kind.format} would compute something else")
        except (ArtefactError, VerificationError) as error:
            raise type(error)(f"{backbone}: {error.message}", hint) from error
