"""Comparison of all ways to ship a classifier on the same inputs: variants of a bundle, and other networks.

It may import `eetool.data`, `eetool.metrics`, `eetool.latency`, `eetool_measure` and `eetool_runtime`. Entry points:
`benchmark.bench_bundle`, and `verdict.decide_verdict` for whether early exit pays.
"""
