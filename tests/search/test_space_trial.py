"""Trial of a user's space: what a search could not train or would answer wrongly is refused before the supernet."""

import pytest

from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.search.evaluation.splits import SearchData, load_search_data
from eetool.search.evaluation.supernet_evaluator import largest_network
from eetool.search.space.space import Space, SpaceBackbone, make_space
from eetool.search.space_trial import try_space
from tests.helpers import multi_exit_networks as networks


@pytest.fixture(scope="module")
def data() -> SearchData:
    inputs, labels = networks.patterns()
    return load_search_data(Source("patterns", inputs, labels, tuple(map(str, range(networks.CLASSES))), False), 64)


def space_of(form: str) -> Space:
    network = SpaceBackbone(f"{networks.MODULE}:make", (), {"name": form})
    return make_space("one", [], lambda genome: network, positions=())


@pytest.mark.parametrize(
    ("form", "reason", "hint"),
    [
        ("shared", "3 outputs that can be the class logits", "In a search forward returns the logits alone"),
        ("two places", "outputs that can be the class logits", "In a search forward returns the logits alone"),
        ("softmax", "probabilities in evaluation mode", "Return the values before the softmax"),
        ("features", r"has no output \(3x10\)", ""),
    ],
)
def test_try_space_outputs_that_are_not_clear_are_refused(data: SearchData, form: str, reason: str, hint: str) -> None:
    space = space_of(form)
    with pytest.raises(UsageError, match=reason) as refused:
        try_space(space, networks.make(form), data, seed=0)
    assert (refused.value.hint or "").startswith(hint)
    assert "--" not in (refused.value.hint or ""), "a search has no option for it"


def test_try_space_frozen_network_is_refused_and_logits_by_name_pass(data: SearchData) -> None:
    space = space_of("named logits")
    largest = largest_network(space, data)
    try_space(space, largest, data, seed=0)
    with pytest.raises(UsageError, match=r"all weights of tests.* are frozen"):
        try_space(space, largest.requires_grad_(False), data, seed=0)
