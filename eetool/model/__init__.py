"""Early-exit networks: backbones, branches, gate scores, checkpoints, MACs and taps.

May import names, records, progress, errors, metrics and graphs; not data.
Entry points: `checkpoint.load_checkpoint`, `checkpoint.build_net`, `references.resolve`, `taps.place_exits`.
"""
