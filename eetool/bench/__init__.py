"""Benchmarks: early-exit bundles against static models on the same images.

May import export, latency, data and below; not profile, search or report.
Entry points: `benchmark.bench_bundle`, `verdict.decide_verdict`, `exit_metrics.exit_figures`.
"""
