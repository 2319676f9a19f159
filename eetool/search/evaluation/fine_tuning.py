"""A candidate's own weights: what it inherited, trained further for a few epochs with its branches.

Shared weights serve networks unevenly: small ones inherit about the same accuracy, whatever full training would make of
them. NACHOS and EDANAS therefore train every candidate (arXiv 2401.13330), which costs epochs instead of seconds.
"""

from eetool.errors import DivergedError
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import TrainingSettings
from eetool.train.torch_devices import CPU
from eetool.train.training_loop import TrainingExamples, run_training
from eetool.workspace import scratch

_BATCH = 128
_LEARNING_RATE = 0.05  # below that of training from scratch, so that what was inherited is kept
_HINT = "Leave --fine-tune away, or train the supernet for longer: its weights are what candidates begin with."


def fine_tune(net: EarlyExitNet, examples: TrainingExamples, epochs: int, seed: int, torch_device: str = CPU) -> None:
    """Train backbone and class heads of all exits jointly on a device, in place; afterwards on the CPU, in eval mode.

    Raises:
        DivergedError: the loss is no number any more.
        MissingError: there is no such device, or the package that it needs.
    """
    batch = min(_BATCH, len(examples.labels))
    settings = TrainingSettings("joint", epochs, seed, batch, _LEARNING_RATE, torch_device=torch_device)
    with scratch() as folder:  # an interrupted candidate is evaluated anew: its state is not kept
        try:
            run_training(net, examples, settings, folder / "state", resume=False)
        except DivergedError as error:
            raise DivergedError(f"fine-tuning a candidate: {error.message}", _HINT) from None
