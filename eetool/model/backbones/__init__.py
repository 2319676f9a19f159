"""Built-in backbones, one family per file, with standard initialisation.

May import torch, and errors of eetool; nothing else of `eetool.model`.
Entry point: `registry.build_backbone`. A new backbone is one file here and one line in `registry`.
"""
