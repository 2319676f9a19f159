"""Evaluation of candidates: data parts, inherited weights, branch training, thresholds and costs.

It may import `eetool.search.space`, `eetool.search.methods`, `eetool.search.search_results`, and what `eetool.search`
may import. Entry points: `evaluator.Evaluator`, `splits.load_search_data`, `cost_estimation.CostEstimator`.
"""
