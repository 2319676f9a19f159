"""Studies: candidates of one search, evaluated by any number of workers that share a database.

It may import `eetool.search.methods`, `eetool.search.search_results` and `eetool.search.space`; Optuna is imported on
first use. Entry points: `study.Study` and `storage.Storage`.
"""
