"""Architecture search: backbone, exits and thresholds of a network for a device.

A method (`methods`) proposes genomes of a space (`space`), workers evaluate them (`evaluation`), and a database keeps
the trials (`study`).
May import export, train, tune, latency and below; not profile, bench or report.
Entry points: `search.Search`, `search_results`, `supernet_training.train_supernet`.
"""
