"""Instruments for early-exit bundles on small devices: latency, energy and kernel times.

`python -m eetool_measure BUNDLE` prints what it measured. The modules are eetool's; the document is what lasts.
"""

__version__ = "0.1.0"
