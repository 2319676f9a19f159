"""Building a latency table: measured probe networks become entries per kernel and a composition.

May import `eetool.latency.{kernels,table,probes}` and `eetool_measure` records; the code that measures is passed in.
Entry points: `build_table.build_profile` draws probes until the plan is met, `profile_assembly` makes tables of times
that a device measured.
"""
