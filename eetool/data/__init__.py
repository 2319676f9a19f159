"""Labelled data: sources by name, splits, augmentation, and inputs for models.

May import `eetool.model` and everything below it. Only augmentation and data of the user's code need torch.
Entry points: `registry.load_source`, `splits.split_source`, `model_inputs.model_inputs`, `input_files.read_inputs`.
"""
