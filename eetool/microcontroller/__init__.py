"""Cascades on microcontrollers: memory plan, C++ source of the device, flash, RAM and cycles.

Imports `graphs`. Entry points: `cascade.read_cascade`, `source_files.write_source`, `footprint.measure_footprint`.
"""
