"""Search methods: planners of candidates, surrogate models, threshold rules and published baselines.

It may import `eetool.search.space`, `eetool.tune` and `eetool.model`. Entry points: `methods.METHODS` and
`methods.find_method`, `threshold_rules.choose_thresholds`, and `pareto` for fronts and hypervolumes.
"""
