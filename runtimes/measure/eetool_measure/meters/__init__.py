"""Power meters of devices, recordings and modules of the user.

They import numpy and `eetool_runtime` alone. Entry point: `registry.find_meter`; a new meter implements `base.Meter`.
`docs/measuring.md` lists the meters and their scope.
"""
