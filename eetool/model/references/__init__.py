"""MODEL arguments: built-in backbones, models of libraries, and factories of the user.

May import `eetool.model.backbones`. References in files are not trusted, see `reference_check`.
Entry points: `resolve.resolve` for a reference, `resolve.build` for its network, `example_inputs.example_inputs`.
"""
