"""Search methods, and the algorithms that they share.

May import `eetool.search.space`.
Entry points: `methods.METHODS` by name, `pareto` for fronts and hypervolumes, `surrogates` for predictors.
"""
