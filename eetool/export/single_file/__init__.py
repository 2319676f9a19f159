"""Export of a checkpoint to one ONNX file that leaves early by itself.

Imports the other modules of `eetool.export`.
Entry point: `export.export_single`.
"""
