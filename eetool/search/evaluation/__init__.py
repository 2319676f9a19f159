"""Evaluation of one candidate: weights, branches, thresholds, accuracy and cost.

May import `eetool.search.space`, train, tune, latency and below.
Entry points: `evaluator.Evaluator`, `cost_estimation.CostEstimator`, `splits.load_search_data`.
"""
