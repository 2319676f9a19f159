"""Trial of a user's space before its supernet is trained: its largest network, as `eetool train` tries one."""

from torch import nn

from eetool.errors import UsageError
from eetool.export.trial_export import trial_export
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.network_check.trial_run import TrialTraining
from eetool.model.references import resolve
from eetool.model.references.output_choice import FIND, choose_outputs
from eetool.model.references.outputs import LOGITS
from eetool.model.references.reference import ModelReference
from eetool.model.references.reference_check import is_built_in
from eetool.model.spec import CheckpointRecord, TrainingSettings
from eetool.search.evaluation.splits import SearchData
from eetool.search.space.space import Space
from eetool.train.exit_plan import ExitPlan, make_spec, varied_inputs
from eetool.train.network_trial import try_network

_TRIED = 4  # samples
# Outputs that a network built without names returns, see `extract_logits`.
_FOUND_WITHOUT_NAMES = ((), (LOGITS,), ("0",), (f"{LOGITS}.0",))
_LOGITS_FIRST = "In a search forward returns the logits alone, or a dict with them as `logits`."
_TRAINABLE = "Leave them trainable: a supernet is trained with all its weights."


def try_space(space: Space, largest: nn.Module, data: SearchData, seed: int) -> None:
    """Try the largest network of a space in training and inference, and convert it once; built-in ones have tests.

    Args:
        space: the space.
        largest: its largest network with initial weights, which is left as it is.
        data: examples.
        seed: recorded with the network.

    Raises:
        UsageError, ArtefactError, VerificationError: the network cannot be trained, or not exported.
    """
    network = space.network(space.largest())
    if is_built_in(network.backbone):
        return
    reference = ModelReference(network.backbone, data.inputs, len(data.classes), network.config)
    _check_outputs(reference)
    weights = list(largest.parameters())
    if weights and not any(weight.requires_grad for weight in weights):
        raise UsageError(f"all weights of {network.backbone} are frozen (requires_grad is False)", _TRAINABLE)
    spec = make_spec(reference, data.inputs, data.classes, ExitPlan(0), training=TrialTraining())
    net = EarlyExitNet(largest, {})
    record = CheckpointRecord(spec, TrainingSettings("none", 0, seed, 0, 0.0))
    samples = {data.inputs[0].name: data.threshold.inputs(_TRIED)}
    try_network(net, Checkpoint(record, net.state_dict(), samples), _trial_export)


def _check_outputs(reference: ModelReference) -> None:
    """Refuse a network whose logits would have to be named, which a search cannot."""
    module = resolve.build_raw(reference.backbone, reference.inputs, reference.classes, reference.config)
    try:
        names = choose_outputs(module, varied_inputs(reference), reference.classes, FIND, reference.backbone)
    except UsageError as error:
        hint = _LOGITS_FIRST if "--" in (error.hint or "") else error.hint
        raise UsageError(error.message, hint) from error
    if names not in _FOUND_WITHOUT_NAMES:
        raise UsageError(f"the logits of {reference.backbone} are its output {names[-1]!r}", _LOGITS_FIRST)


def _trial_export(start: Checkpoint) -> None:
    trial_export(start, ["onnx"], "Use other operators or arguments there: no network of this space can be exported.")
