"""Words of figures."""

from eetool.wording import counted, scope_words


def test_counted_one_and_many() -> None:
    assert [counted(n, "example") for n in (0, 1, 2)] == ["0 examples", "1 example", "2 examples"]
    assert counted(2, "pass", "passes") == "2 passes"
    assert counted(1, "pass", "passes") == "1 pass"


def test_scope_words_are_no_identifiers() -> None:
    for scope in ("board_gross", "board_net", "core_net"):
        assert "_" not in scope_words(scope)
    assert (scope_words(None), scope_words("other")) == ("", "other")
