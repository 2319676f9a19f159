"""Readers of one data format each, which return a `Source`.

May import `eetool.data.source` and `eetool.data.splits`, not the registry. Files are not trusted: nothing in them is
run, and sizes are checked before memory is allocated.
Entry points: the functions `read_*`, which `eetool.data.registry` maps to names, and `download.official_files`.
"""
