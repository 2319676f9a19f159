"""Persistent studies: many workers share the trials of one search through a database.

May import the other packages of eetool.search, except `evaluation`. Optuna is imported here and in `methods` only.
Entry point: `study`.
"""
