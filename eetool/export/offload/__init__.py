"""Export of the last components for a model server, behind an open protocol (docs/howto/offload.md).

Imports the other modules of `eetool.export`.
Entry points: `export.add_offload`, `cut.candidate_cuts`.
"""
