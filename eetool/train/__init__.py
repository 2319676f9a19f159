"""Training of backbones with early exits.

Imports `eetool.latency` and everything below it; nothing that exports, profiles or searches.
Entry points: `pipeline.train_model`, from a backbone reference and a data source to a checkpoint, and
`training_loop.run_training`, the loop alone.
"""
