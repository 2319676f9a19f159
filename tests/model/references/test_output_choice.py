"""Outputs of networks that are class logits, in both modes."""

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.references.output_choice import OutputChoice, choose_outputs, count_classes, describe_outputs
from tests.helpers import multi_exit_networks as networks

IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
OWN = OutputChoice(own=True)


def choose(form: str, *named: str, own: bool = False) -> tuple[str, ...]:
    return choose_outputs(networks.make(form), (IMAGES,), networks.CLASSES, OutputChoice(named, own), "the network")


def refusal(form: str, *named: str, own: bool = False) -> str:
    """Return the message and the hint with which the outputs of a network are refused."""
    with pytest.raises(UsageError) as caught:
        choose(form, *named, own=own)
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("probabilities first", ("1",)),
        ("sigmoid first", ("1",)),
        ("none beside", ("0",)),
        ("named logits", ("logits",)),
        ("twice", ("0",)),
        ("dataclass", ("scores",)),
        ("auxiliary in training", ("logits",)),
        ("tuple in training", ("0",)),
        ("exits in training", ("2",)),
        ("log softmax", ()),
    ],
)
def test_choose_outputs_one_that_fits_is_found(form: str, names: tuple[str, ...]) -> None:
    assert choose(form) == names


@pytest.mark.parametrize(
    ("form", "listed", "example"),
    [
        ("list", "3 outputs that can be the class logits: 0 (3x10), 1 (3x10), 2 (3x10)", "--logits 2"),
        ("dict of list", "logits.0 (3x10), logits.1 (3x10), logits.2 (3x10) |", "--logits logits.2"),
        ("embedding first", "2 outputs that can be the class logits: 0 (3x10), 1 (3x10)", "--logits 1"),
        ("probabilities among exits", "0 (3x10), 1 (3x10), 2 (3x10, probabilities)", "--logits 1"),
        ("noise in training", "in training mode has 2 outputs", "--logits 1"),
        ("zeros", "in training mode has 2 outputs", "--logits 1"),
    ],
)
def test_choose_outputs_several_that_fit_are_listed(form: str, listed: str, example: str) -> None:
    message = refusal(form)
    assert listed in message
    assert f"Name the classifier, such as {example}." in message


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ("list", "2"),
        ("dict of list", "logits.0"),
        ("embedding first", "1"),
        ("tuple in training", "0"),
        ("noise in training", "0"),
    ],
)
def test_choose_outputs_named_output_is_taken(form: str, named: str) -> None:
    assert choose(form, named) == (named,)


@pytest.mark.parametrize(
    ("form", "named", "reason"),
    [
        ("list", ("3",), "no output '3': 0 (3x10), 1 (3x10), 2 (3x10) | Name one of these as --logits."),
        ("list", ("0", "1"), "--logits names 2 outputs | Name one, or give --exits own."),
        ("dict of list", ("logits",), "--logits logits names 3 outputs"),
        ("wide embedding first", ("0",), "its output 0 has the shape (3x30), and logits for a batch of 3 have (3x10)"),
        ("probabilities first", ("0",), "its output '0' holds probabilities in evaluation mode"),
        ("log softmax", ("0",), "returns one output, so there is nothing to choose | Leave --logits out."),
        ("tuple in training", ("1",), "evaluation mode returns what is '0' in training mode, not '1'"),
        ("auxiliary in training", ("auxiliary",), "evaluation mode returns what is 'logits' in training mode"),
        ("reversed in training", ("2",), "'2' in evaluation mode is '0' in training mode"),
        ("one name twice", (), "has two outputs called a.b: a.b (3x10), a.b (3x10)"),
        ("features", (), "no output (3x10), as logits for a batch of 3 are: 0 (3x30), 1 (3x3x1)"),
    ],
)
def test_choose_outputs_wrong_name_is_refused(form: str, named: tuple[str, ...], reason: str) -> None:
    assert reason in refusal(form, *named)


@pytest.mark.parametrize(
    ("form", "mode"), [("softmax", "evaluation"), ("softmax in evaluation", "evaluation"), ("sigmoid", "evaluation")]
)
def test_choose_outputs_classifier_that_ends_in_softmax_is_refused(form: str, mode: str) -> None:
    message = refusal(form)
    assert f"it returns probabilities in {mode} mode, not logits" in message
    assert "Return the values before the softmax or sigmoid" in message


def test_choose_outputs_other_names_in_training_are_refused() -> None:
    assert "no output 'logits' in training mode: 0 (3x10)" in refusal("other names in training")


@pytest.mark.parametrize(
    ("form", "named", "names"),
    [
        ("list", (), ("0", "1", "2")),
        ("dict of list", (), ("logits.0", "logits.1", "logits.2")),
        ("dict of list", ("logits",), ("logits.0", "logits.1", "logits.2")),
        ("two places", ("1",), ("1.0", "1.1", "1.2")),
        ("list", ("2", "0"), ("2", "0")),
    ],
)
def test_choose_outputs_own_exits_are_all_or_those_named(
    form: str, named: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert choose(form, *named, own=True) == names


@pytest.mark.parametrize(
    ("form", "named", "reason"),
    [
        ("exits in training", (), "returns one output in evaluation mode, so not all of its exits"),
        ("named logits", (), "has one output of class logits, so it has no exits of its own"),
        ("log softmax", (), "returns one output, so it has no exits of its own | Give --exits N to attach some."),
        ("reversed in training", (), "'0' in evaluation mode is '2' in training mode"),
        ("two places", (), "in several places: 0 (3x10), 1.0 (3x10)"),
        ("probabilities among exits", (), "its output 2 holds probabilities and others logits"),
        ("probabilities among exits", ("0", "1", "2"), "its output '2' holds probabilities"),
    ],
)
def test_choose_outputs_unclear_own_exits_are_refused(form: str, named: tuple[str, ...], reason: str) -> None:
    assert reason in refusal(form, *named, own=True)


@pytest.mark.parametrize("error", [RuntimeError("no weights here"), SystemExit(0)])
def test_choose_outputs_network_that_fails_is_left_to_its_next_run(error: BaseException) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise error

    assert choose_outputs(Broken(), (IMAGES,), 10, OWN, "the network") == ()


def test_choose_outputs_state_of_torch_is_unchanged() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10)).eval()
    before = torch.random.get_rng_state()
    choose_outputs(network, (IMAGES,), 10, OutputChoice(), "the network")
    assert torch.equal(before, torch.random.get_rng_state())
    assert not network.training


def test_count_classes_widths_that_differ_are_refused() -> None:
    wide, narrow = torch.zeros(1, 30), torch.zeros(1, 10)
    assert count_classes((wide[:, :, None], narrow), 1, OutputChoice(), "the network") == 10
    assert count_classes((wide, narrow), 1, OutputChoice(("1",)), "the network") == 10
    assert count_classes({"logits": narrow, "features": wide}, 1, OutputChoice(), "the network") == 10
    with pytest.raises(UsageError, match=r"different widths.*0 \(1x30\), 1 \(1x10\)"):
        count_classes((wide, narrow), 1, OutputChoice(), "the network")
    with pytest.raises(UsageError, match=r"does not give logits \(N, classes\): 0 \(a single number\)"):
        count_classes((torch.tensor(1.0),), 1, OutputChoice(), "the network")


def test_describe_outputs_shows_those_of_class_logits() -> None:
    described = describe_outputs(networks.make("dict of list"), (IMAGES,), 10)
    assert [(x.name, x.shape, x.logits) for x in described] == [
        *((f"logits.{i}", (3, 10), True) for i in range(3)),
        ("features", (3, 10), False),
    ]
    assert describe_outputs(networks.make("softmax"), (IMAGES,), 10) == []
