"""Predicted latency and energy of models on a device, from its table.

`prediction_target` gives the kernels of a bundle, a checkpoint or an ONNX file, and `predictor` their cost.
`cascade_price.price_cascade` is the only place where the costs of components become the cost of a cascade.

May import the packages below `latency`, and its kernels, table and build; never export, tune or search.
"""
