"""Comparison of a bundle with its unsplit backbone and other networks, on the same inputs and in one process.

It may import `eetool.data`, `eetool.metrics`, `eetool.latency`, `eetool_measure` and `eetool_runtime`. Entry points:
`benchmark.bench_bundle`, and `verdict.decide_verdict` for whether early exit pays.
"""
