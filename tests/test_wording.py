"""Words of figures."""

from eetool.wording import counted, cut_remarks, scope_words


def test_counted_one_and_many() -> None:
    assert [counted(n, "example") for n in (0, 1, 2)] == ["0 examples", "1 example", "2 examples"]
    assert counted(2, "pass", "passes") == "2 passes"
    assert counted(1, "pass", "passes") == "1 pass"


def test_scope_words_are_no_identifiers() -> None:
    for scope in ("board_gross", "board_net", "core_net"):
        assert "_" not in scope_words(scope)
    assert (scope_words(None), scope_words("other")) == ("", "other")


def test_cut_remarks_name_the_points_of_an_exit_together() -> None:
    remarks = cut_remarks({"fp32 fast": 0, "balanced": None, "int8 fast": 0, "slow": 1})
    assert [remark.partition(";")[0] for remark in remarks] == [
        "note: at fp32 fast, int8 fast nearly every input leaves at exit 0",
        "note: at slow nearly every input leaves at exit 1",
    ]
