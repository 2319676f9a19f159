"""Checks of a network before it is trained or exported: what a device would compute differently.

May import `eetool.model`. A check returns what it found in terms of the user's own code, and callers raise it.
Entry point: `inference.find_fault`.
"""
