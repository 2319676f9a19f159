"""A complete search, without the command line."""

from pathlib import Path

from eetool.data.source import Source
from eetool.search.search import SearchOptions, SearchTarget
from eetool.search.study.storage import Storage
from eetool.search.supernet_search import SupernetSearch
from eetool.search.supernet_training import SupernetTraining
from tests.helpers import small_spaces


def test_screen_limit_below_smallest_network_admits_all(digits: Source) -> None:
    space = small_spaces.mobile()
    sizes = [
        SupernetSearch(digits, space, SearchTarget(), SearchOptions(examples=50))
        .evaluator()
        .estimate_costs(g)
        .parameters
        for g in small_spaces.ends(space)
    ]
    for limit, admitted in ((sizes[0], (True, False)), (sizes[1], (True, True)), (sizes[0] - 1, (True, True))):
        search = SupernetSearch(digits, space, SearchTarget(), SearchOptions(examples=50, limits={"parameters": limit}))
        screen = search._screen(search.evaluator())
        assert tuple(map(screen, small_spaces.ends(space))) == admitted, limit


def test_run_exits_at_every_block_are_searched_and_charged(digits: Source, tmp_path: Path) -> None:
    space, options = small_spaces.blocks(), SearchOptions("random", trials=6, examples=50, epochs=1)
    search = SupernetSearch(digits, space, SearchTarget(), options)
    sha256 = search.prepare(tmp_path / "supernet.pt", SupernetTraining(1))
    found = search.run(Storage(f"sqlite:///{tmp_path / 'study.db'}"), "blocks", sha256)
    assert len({candidate.id for candidate in found}) == 6
    evaluator = search.evaluator()
    for candidate in found:
        assert len(candidate.exit_accuracies) == len(candidate.exit_costs) == len(candidate.taps) + 1
        costs = evaluator.estimate_costs(candidate.encoding).costs["macs"]
        never = candidate.figures.exit_shares[-1] == 1
        rejecting = costs.leaving(candidate.thresholds)[-1]  # gates that are asked run their branch for every input
        assert candidate.figures.worst_macs == rejecting
        assert not never or candidate.figures.macs == rejecting
    assert len({tap for candidate in found for tap in candidate.taps}) >= 2
