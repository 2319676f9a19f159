"""ONNX and TFLite files as data: sized graphs, normalisation, renaming and quantisation, without torch.

May import `eetool.errors`, `eetool.records` and the runtime. Entry points: `onnx_graph.read_graph` and
`tflite_graph.read_tflite` read files, `onnx_normalize.normalize_onnx` and `onnx_rename.shorten_onnx` prepare them for a
bundle, `quantize.quantize` makes int8 graphs, `tflite_combine.combine_tflite` makes one TFLite file of several.
"""
