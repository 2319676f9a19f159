"""The training loop: the same bytes from the same seed, interrupted or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.data.augmentation import Augmentation
from eetool.data.source import Source
from eetool.data.splits import TRAIN, split_source
from eetool.errors import ArtefactError, DivergedError, UsageError
from eetool.model.checkpoint import load_tensors, save_checkpoint, serialise
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import LossOptions, TrainingSettings
from eetool.progress import SILENT, Advance, Progress
from eetool.train import training_loop
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import train_model
from eetool.train.source_examples import Normalisation
from eetool.train.torch_devices import CpuDevice
from eetool.train.training_examples import TrainingExamples
from eetool.train.training_loop import RESUME_FORMAT, one_cycle, run_training

ALL_OPTIONS = LossOptions(label_smoothing=0.1, ramp=True, survivors=0.5, gradient_scaling=True)
SETTINGS = TrainingSettings("joint", epochs=3, seed=5, batch_size=64, learning_rate=0.05)
PLAN = ExitPlan(1, "linear")


class Steps:
    """Counts the examples that are reported, and presses Ctrl-C after `stop` training steps."""

    def __init__(self, stop: int | None = None) -> None:
        self.done, self.steps, self.total, self.stop = 0, 0, 0, stop

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.total = total
        yield self.advance

    def advance(self, steps: int) -> None:
        self.done += steps
        self.steps += 1
        if self.steps == self.stop:
            raise KeyboardInterrupt

    def note(self, line: str) -> None:
        assert "held out for tuning" in line, line  # these data are few


class Runs:
    """Trains into a folder of its own; what it gives is the bytes of the model.pt."""

    def __init__(self, source: Source, folder: Path) -> None:
        self.source, self.folder = source, folder
        self.state = folder / "state"

    def __call__(
        self,
        settings: TrainingSettings = SETTINGS,
        plan: ExitPlan = PLAN,
        resume: bool = False,
        progress: Progress = SILENT,
        normalisation: Normalisation | None = None,
    ) -> bytes:
        checkpoint = train_model(
            "resnet8", self.source, plan, settings, self.state, resume, progress, normalisation=normalisation
        )
        save_checkpoint(self.folder / "model.pt", checkpoint, force=True)
        return (self.folder / "model.pt").read_bytes()

    def interrupted(self, after_steps: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            self(progress=Steps(after_steps))


@pytest.fixture
def run(little: Source, tmp_path: Path) -> Runs:
    return Runs(little, tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(little: Source, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Runs(little, tmp_path_factory.mktemp("uninterrupted"))()


def test_run_training_same_seed_gives_the_same_bytes(run: Runs, uninterrupted: bytes) -> None:
    torch.rand(3)  # what was drawn before does not matter
    assert run() == uninterrupted
    assert run(replace(SETTINGS, seed=6)) != uninterrupted


@pytest.mark.parametrize("steps", [4, 7, 8])
def test_run_training_resumed_run_gives_the_same_bytes(run: Runs, uninterrupted: bytes, steps: int) -> None:
    run.interrupted(after_steps=steps)
    assert run.state.exists()
    assert not (run.folder / "model.pt").exists()
    assert run(resume=True) == uninterrupted
    assert not run.state.exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_run_training_resumed_run_with_every_option_gives_the_same_weights(run: Runs, precision: str) -> None:
    settings = replace(SETTINGS, recipe="distill", average=0.9, precision=precision, loss=ALL_OPTIONS)
    whole = run(settings)
    with pytest.raises(KeyboardInterrupt):
        run(settings, progress=Steps(5))
    assert run(settings, resume=True) == whole
    assert run(replace(settings, average=0.0)) != whole


class Witness(nn.Module):
    """Remembers what it was shown in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(16, 2), list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x)
        return self.linear(x.flatten(1))  # (N, 1, 4, 4) -> (N, 16) -> (N, 2)


def shown_in_three_epochs(loss: LossOptions, state: Path) -> list[Tensor]:
    images = torch.randint(1, 256, (20, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    examples = TrainingExamples(images, torch.arange(20) % 2, torch.zeros(1), torch.ones(1), Augmentation(mirror=True))
    witness = Witness()
    run_training(EarlyExitNet(witness, {}), examples, replace(SETTINGS, batch_size=20, loss=loss), state, resume=False)
    return witness.seen


def test_run_training_epochs_have_different_batches(tmp_path: Path) -> None:
    first, second, third = (
        batch.flatten(1).sort(0).values for batch in shown_in_three_epochs(LossOptions(), tmp_path / "s")
    )
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_run_training_views_repeat_in_another_order(tmp_path: Path) -> None:
    seen = shown_in_three_epochs(LossOptions(teacher_views=2), tmp_path / "s")
    first, second, third = (batch.flatten(1).sort(0).values for batch in seen)
    assert torch.equal(first, third)
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(first, second)


class Viewed(nn.Module):
    """Reshapes features of images by `view`, which only contiguous tensors allow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 2, 1), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).view(len(x), -1))


def test_run_training_network_that_needs_contiguous_tensors_is_trained(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    examples = TrainingExamples(images, torch.arange(20) % 2, torch.zeros(3), torch.ones(3))
    net = EarlyExitNet(Viewed(), {})
    before = net.backbone.linear.weight.clone()
    run_training(net, examples, replace(SETTINGS, epochs=1), tmp_path / "state", resume=False)
    assert not torch.equal(net.backbone.linear.weight, before)


def test_run_training_progress_counts_the_examples_of_this_run(run: Runs) -> None:
    whole, rest = Steps(), Steps()
    run(progress=whole)
    count = len(split_source(run.source)[TRAIN])
    assert whole.done == whole.total == 3 * count
    run.interrupted(after_steps=5)  # in the second epoch
    run(resume=True, progress=rest)
    assert rest.done == rest.total == 2 * count


def test_run_training_resume_without_an_epoch_raises_usage_error(run: Runs) -> None:
    run.interrupted(after_steps=2)
    assert not run.state.exists()
    with pytest.raises(UsageError, match="nothing to resume"):
        run(resume=True)


def test_run_training_new_run_removes_the_interrupted_one(run: Runs) -> None:
    run.interrupted(after_steps=4)
    run.interrupted(after_steps=2)
    assert not run.state.exists()


def test_run_training_resume_with_other_settings_raises_usage_error(run: Runs) -> None:
    run.interrupted(after_steps=4)
    kept = run.state.read_bytes()
    for changed in (replace(SETTINGS, epochs=9), replace(SETTINGS, seed=6), replace(SETTINGS, learning_rate=0.1)):
        with pytest.raises(UsageError, match="had other settings"):
            run(changed, resume=True)
    with pytest.raises(UsageError, match="had other exits"):
        run(plan=ExitPlan(2, "linear"), resume=True)
    with pytest.raises(UsageError, match="had other layers or preprocessing"):
        run(plan=ExitPlan(1, "conv1-8"), resume=True)
    assert run.state.read_bytes() == kept


def test_run_training_resume_with_other_data_or_preprocessing_raises_usage_error(run: Runs) -> None:
    run.interrupted(after_steps=4)
    source = run.source
    changed = source.inputs.copy()
    changed[split_source(source)[TRAIN][5]] += 1  # one photograph was edited meanwhile
    run.source = replace(source, inputs=changed)
    with pytest.raises(UsageError, match="other training data"):
        run(resume=True)
    run.source = source
    with pytest.raises(UsageError, match="had other layers or preprocessing"):
        run(resume=True, normalisation=((0.5,), (0.5,)))
    run(resume=True)


def test_run_training_resume_of_an_earlier_version_goes_on(run: Runs, uninterrupted: bytes) -> None:
    run.interrupted(after_steps=4)
    stored = load_tensors(run.state, RESUME_FORMAT)
    for name in ("network", "weights", "data"):
        del stored["run"][name]
    run.state.write_bytes(serialise(stored))
    assert run(resume=True) == uninterrupted


def test_run_training_damaged_state_raises_artefact_error(run: Runs) -> None:
    run.interrupted(after_steps=4)
    run.state.write_bytes(run.state.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="damaged"):
        run(resume=True)


def test_run_training_divergence_raises_and_keeps_the_last_epoch(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run.interrupted(after_steps=4)
    kept = run.state.read_bytes()
    monkeypatch.setattr(training_loop, "one_cycle", lambda position, warm_up: 1e30)
    with pytest.raises(DivergedError, match="the loss became nan in epoch 2, step 2: the first loss was") as diverged:
        run(resume=True)
    assert diverged.value.hint == (
        f"The last whole epoch is kept: --weights {run.state} begins from it, with a lower --learning-rate."
    )
    assert run.state.read_bytes() == kept


def test_run_training_images_without_deviation_are_refused_as_such(run: Runs) -> None:
    run.source = replace(run.source, inputs=run.source.inputs * 0 + 9)
    with pytest.raises(ArtefactError, match=r"every pixel of all 145 training images is \[9\]"):
        run()


def test_run_training_kept_state_initialises_a_new_run(run: Runs, tmp_path: Path) -> None:
    run.interrupted(after_steps=4)
    kept = load_tensors(run.state, RESUME_FORMAT)["net"]
    again = train_model("resnet8", run.source, PLAN, replace(SETTINGS, epochs=0), tmp_path / "other", weights=run.state)
    assert all(torch.equal(tensor, again.state[name]) for name, tensor in kept.items())


def test_run_training_rest_of_one_example_is_skipped(run: Runs) -> None:
    count = len(split_source(run.source)[TRAIN])
    plan = ExitPlan(1, "max2,max2,conv3-8", ("layer2",))  # its normalisation sees a single pixel
    steps = Steps()
    run(replace(SETTINGS, epochs=1, batch_size=count - 1), plan, progress=steps)
    assert steps.done == steps.total == count
    assert steps.steps == 2


@pytest.mark.parametrize("rest", [1, 2])
def test_run_training_rest_of_one_example_per_process_is_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rest: int
) -> None:
    engine = CpuDevice("fp32")
    engine.processes = 2
    monkeypatch.setattr("eetool.train.training_loop.open_device", lambda settings: engine)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    labels = torch.arange(16 + rest) % 2
    examples = TrainingExamples(torch.randn(len(labels), 6), labels, None, None)
    settings = replace(SETTINGS, epochs=1, batch_size=8)
    run_training(EarlyExitNet(net, {}), examples, settings, tmp_path / "state", resume=False)
    assert int(net[2].num_batches_tracked) == 2


def test_run_training_weights_that_the_user_froze_stay_as_they_are(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    net[1].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    examples = TrainingExamples(torch.randn(16, 6), torch.arange(16) % 2, None, None)
    run_training(EarlyExitNet(net, {}), examples, SETTINGS, tmp_path / "state", resume=False)
    equal = {name: torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items()}
    assert equal == {"1.weight": True, "1.bias": True, "3.weight": False, "3.bias": False}


def test_run_training_high_learning_rate_raises_diverged_error(run: Runs) -> None:
    with pytest.raises(DivergedError, match="the loss became"):
        run(replace(SETTINGS, learning_rate=1e30))


def test_one_cycle_whole_training_rises_to_peak_and_falls_to_zero() -> None:
    rates = [one_cycle(i / 1000) for i in range(1000)]
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(0.1)
    assert rates[peak] == 1
    assert rates[-1] < 1e-4
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)


def test_run_training_averaged_weights_lie_between_those_of_steps(little: Source, tmp_path: Path) -> None:
    """After two steps from w0 to w1 and w2 the average is a mix of the three, and running statistics are too."""
    settings = replace(SETTINGS, epochs=1, batch_size=100)
    last, mean = (
        train_model("resnet8", little, PLAN, replace(settings, average=a), tmp_path / "s").state for a in (0.0, 0.5)
    )
    first = train_model("resnet8", little, PLAN, replace(settings, epochs=0), tmp_path / "s").state
    name = "backbone.bn1.running_mean"
    moved, averaged = last[name] - first[name], mean[name] - first[name]
    share = float((averaged * moved).sum() / (moved * moved).sum())
    assert 0.5 < share < 1
    assert torch.equal(last["backbone.bn1.num_batches_tracked"], mean["backbone.bn1.num_batches_tracked"])
