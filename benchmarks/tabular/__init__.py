"""Parts of `benchmarks/tabular_search.py`: the table of trained exits, its evaluation, and search methods on it."""
