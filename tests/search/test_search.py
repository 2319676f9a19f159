"""A complete search, without the command line."""

from eetool.data.source import Source
from eetool.search.search import SearchOptions, SearchTarget
from eetool.search.supernet_search import SupernetSearch
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
