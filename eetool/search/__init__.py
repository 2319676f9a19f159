"""Hardware-aware architecture search over backbones, exits, branches and gates.

Data flows through the packages in this order: `space` (candidates), `methods` (the next candidates), `evaluation`
(figures of a candidate), `study` (shared work in a database). It may import `eetool.data`, `eetool.model`,
`eetool.train`, `eetool.tune`, `eetool.export` and `eetool.latency`. Entry points: `search.Search`,
`search_results.read_front`, `space.builtin_spaces.load_space`.
"""
