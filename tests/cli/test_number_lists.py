"""Lists of numbers in options, and presets."""

import pytest

from eetool.cli.number_lists import parse_normalisation
from eetool.errors import UsageError


def test_parse_normalisation_misspelt_preset_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="'imagnet' is unknown") as caught:
        parse_normalisation("--normalize", "imagnet")
    assert str(caught.value.hint).startswith("Did you mean imagenet? ")
