"""Published search methods and fixed rules that `eetool search` is compared with.

`nachos` and `edanas` rebuild the spaces and threshold rules of two papers. `fixed` holds the arms of the ablation. They
may import `eetool.model`, `eetool.tune`, `eetool.search.space` and `eetool.search.methods.tuned_thresholds`. Entry
points: `eetool.search.methods.methods.METHODS` and `eetool.search.methods.threshold_rules.choose_thresholds`.
"""
