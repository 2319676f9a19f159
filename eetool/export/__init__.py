"""Export of checkpoints to bundles of components, or to one ONNX file.

Imports `eetool.tune`, `eetool.train` and everything below them; nothing that profiles or searches.
Entry points: `bundle_export.export_bundle` and `single_file.export.export_single`.
"""
