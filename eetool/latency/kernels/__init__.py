"""Kernels that a runtime runs for a graph: fused operators, each with its kind, sizes and work.

May import `eetool.graphs` and `eetool.errors`. Entry points: `from_onnx` and `from_tflite` read kernels from graphs,
`onnx_fusion` models the fusions of ONNX Runtime, `features` describes kernels for regressions.
"""
