"""Measuring: latency, energy and steadiness of bundles, on this machine or over ssh, and checks of the environment.

May import `eetool.latency`, `eetool.records` and `eetool_measure`, which runs in child processes. Entry points:
`profiler.profile_bundle`, `local_runner` and `ssh_runner` as its runners, `environment_check.check_environment`.
"""
