"""Probe networks: small random networks that a device times for its latency table, in ONNX and TFLite.

May import `eetool.graphs`, `eetool.latency.kernels` and the records of `eetool_measure`. Entry points:
`probe_network.probe_networks` draws networks, `probe_files.write_probes` writes their files.
"""
