"""Branches made by NACHOS' rule."""

from eetool.model.references.reference import float_input
from eetool.model.references.resolve import build
from eetool.search.evaluation.adaptive_branches import adaptive_branches


def test_adaptive_branches_pool_until_leaving_is_cheaper() -> None:
    inputs = float_input("x", (1, 3, 32, 32))
    backbone = build("mbv3-16x2-24r1.3e2.3e2-40hs2.3e2.3e2-96x64", inputs, 10)
    made = adaptive_branches(backbone, inputs, ("stage0.1", "stage1.1"), ("NCHW", "NCHW"), 10)
    assert [text.count("max2") for text in made] == [2, 2]
    wide = build("mbv3-16x1-128r1.3e4.3e4-160hs2.5e4.5e4-960x1280", inputs, 10)
    assert adaptive_branches(wide, inputs, ("stage0.0",), ("NCHW",), 10)[0].count("max2") == 0
    assert adaptive_branches(backbone, inputs, (), (), 10) == ()
