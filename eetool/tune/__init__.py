"""Calibration, thresholds and operating points of an early-exit model.

Imports `eetool.latency` and everything below it; nothing that exports, profiles or searches.
Entry points: `fit_policy.fit_policy` for a checkpoint, `refit.fit_bundle` for a bundle, `refit.refit_variant` for one
more variant of a bundle.
"""
