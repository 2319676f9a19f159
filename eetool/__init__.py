"""Early-exit neural networks: training, tuning, export, measurement and execution on small CPUs."""

__version__ = "0.1.0"
