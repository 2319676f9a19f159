"""Labelled data: sources by name, splits, augmentation, and inputs for models.

May import names, records, progress and errors. Only `augmentation` needs torch.
Entry points: `registry.load_source`, `splits.split_source`, `model_inputs.model_inputs`, `input_files.read_inputs`.
"""
