"""Fine-tuning of a candidate: inherited weights, trained for a few epochs together with its branches.

Shared weights fit some networks better than others. Small networks inherit about the same accuracy, whatever accuracy
they reach when fully trained. NACHOS and EDANAS therefore train every candidate (arXiv 2401.13330), which takes epochs
instead of seconds.
"""

from eetool.errors import DivergedError
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import TrainingSettings
from eetool.train.torch_devices import CPU
from eetool.train.training_examples import TrainingExamples
from eetool.train.training_loop import run_training
from eetool.workspace import scratch

_BATCH = 128
_LEARNING_RATE = 0.05  # below that of training from scratch, so that inherited weights are kept
_HINT = "Omit --fine-tune, or train the supernet for longer: candidates start from its weights."


def fine_tune(net: EarlyExitNet, examples: TrainingExamples, epochs: int, seed: int, torch_device: str = CPU) -> None:
    """Train backbone and branches of all exits jointly on a device, in place; the result is on the CPU, in eval mode.

    Raises:
        DivergedError: the loss is not finite.
        MissingError: the device, or a package that it needs, is missing.
    """
    batch = min(_BATCH, len(examples.labels))
    settings = TrainingSettings("joint", epochs, seed, batch, _LEARNING_RATE, torch_device=torch_device)
    with scratch() as folder:  # an interrupted candidate is evaluated again, so its state is not kept
        try:
            run_training(net, examples, settings, folder / "state", resume=False)
        except DivergedError as error:
            raise DivergedError(f"fine-tuning a candidate: {error.message}", _HINT) from None
