"""Early-exit neural networks from training to a small CPU."""

__version__ = "0.1.0"
