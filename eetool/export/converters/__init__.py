"""Conversion of components, as torch graphs, to files of one format.

Imports torch's exporters, onnxsim and litert-torch, and no other part of `eetool.export` but `split`.
Entry points: `to_onnx.export_onnx` and `to_tflite.export_tflite`.
"""
