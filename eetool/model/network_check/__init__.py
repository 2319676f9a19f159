"""Checks of a network before it is trained or exported: what would fail later, or be answered otherwise by a device.

May import `eetool.model`. `inference` returns what it found in terms of the user's own code, and callers raise it.
Entry points: `trial_run.try_inference`, `trial_run.try_training`, `inference.find_fault`.
"""
