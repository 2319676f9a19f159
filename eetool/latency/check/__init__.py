"""Check of a latency table on its own device: reference probes are measured again, and give speed factors.

May import `eetool.latency.{kernels,table,probes,build}` and `eetool_measure` records; the code that measures is passed
in. Entry points: `table_check.check_table` measures, `correction.correct_profile` applies what it found.
"""
