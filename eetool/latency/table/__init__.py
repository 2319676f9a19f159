"""Latency table of a device: its records, their validation, and the cost of a kernel that follows from them.

May import `eetool.latency.kernels`, `eetool.records` and `eetool.errors`. Entry points: `hw_profile.load_device` reads
a profile, `kernel_costs.KernelCosts` answers with the cost of a kernel.
"""
