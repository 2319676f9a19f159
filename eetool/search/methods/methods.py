"""Search methods by name: the space that each searches, its threshold rule and its planner."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from eetool.errors import UsageError
from eetool.search.methods.baselines.edanas import edanas_space
from eetool.search.methods.baselines.fixed import fixed_branches
from eetool.search.methods.baselines.nachos import nachos_space
from eetool.search.methods.local_search import LocalPlanner
from eetool.search.methods.planners import Admits, Planner, SurrogatePlanner, sampler_planner
from eetool.search.methods.threshold_rules import FIXED, GENES, SHARED, TUNED
from eetool.search.space.space import Space


@dataclass(frozen=True)
class Method:
    """A search method: its form of a space, its threshold rule and its planner.

    Attributes:
        space: returns the form of a space that the method searches.
        thresholds: rule of `eetool.search.methods.threshold_rules.choose_thresholds`.
        learned: exits have confidence heads, trained as in NACHOS, and gates use them.
        planner: makes a planner from the space, the seed, the number of evaluations and the admissible genomes.
        screened: only networks are planned whose exits can save cost, see
            `eetool.search.evaluation.evaluator.Evaluator.exits_can_save`.
    """

    space: Callable[[Space], Space]
    thresholds: str
    learned: bool
    planner: Callable[[Space, int, int, Admits], Planner]
    screened: bool = True


def _full_space(space: Space) -> Space:
    return space


METHODS: dict[str, Method] = {
    # AEBNAS (arXiv 2512.10671): backbone, exits and the architecture of every branch; thresholds tuned for each
    # candidate. Its surrogate loop is not public; this one is that of NACHOS, which it extends.
    "aebnas": Method(_full_space, TUNED, False, SurrogatePlanner),
    # Our own: what `aebnas` searches, by local search on the front with predictions from single exits.
    "local": Method(_full_space, TUNED, False, LocalPlanner),
    # NACHOS (arXiv 2401.13330): backbone and the presence of exits; learned confidences.
    "nachos": Method(nachos_space, SHARED, True, SurrogatePlanner, screened=False),
    # EDANAS (Gambella and Roveri, 2023): backbone and thresholds as genes, positions fixed.
    "edanas": Method(edanas_space, GENES, False, SurrogatePlanner, screened=False),
    # NSGA-II (Deb et al. 2002), TPE (Bergstra et al. 2011; several objectives: arXiv 2001.02492), random search.
    "nsga2": Method(_full_space, TUNED, False, sampler_planner("nsga2")),
    "tpe": Method(_full_space, TUNED, False, sampler_planner("tpe")),
    "random": Method(_full_space, TUNED, False, sampler_planner("random")),
}


def find_method(name: str, branches: str = "searched", thresholds: str = TUNED) -> Method:
    """Return a method by name; with branches `fixed` or thresholds `fixed` it is an arm of the ablation.

    Raises:
        UsageError: there is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"unknown algorithm {name!r}", f"Known algorithms: {', '.join(METHODS)}.")
    method = METHODS[name]
    if branches == "fixed" and method.space is _full_space:
        method = replace(method, space=fixed_branches)
    if thresholds == FIXED and method.thresholds == TUNED:
        method = replace(method, thresholds=FIXED)
    return method
