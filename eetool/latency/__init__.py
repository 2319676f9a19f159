"""Latency of graphs on a device without running them there: kernels, the device's table, and estimates from both.

May import `eetool.graphs`, `eetool.records` and the records of `eetool_measure`. `kernels` and `table` are the basis,
`probes` and `build` make a table, and `estimate` predicts latency and energy of models.
"""
