"""Instruments for early-exit bundles on small devices: latency, energy and kernel times.

`python -m eetool_measure BUNDLE` prints one JSON document. The package imports numpy and `eetool_runtime` alone; its
modules serve eetool, and the document is the stable interface.
"""

__version__ = "0.1.0"
