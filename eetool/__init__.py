"""Early-exit neural networks: training, tuning, export, measurement and execution on small CPUs.

    import eetool

    data = eetool.load_data("digits")
    checkpoint = eetool.train("resnet8", data, "model.pt", epochs=5)
    eetool.tune("model.pt", data, max_accuracy_drop=2)
    model = eetool.load(eetool.export("model.pt"))

For a network and a loop of your own: `attach_exits`, `joint_loss`, `distillation_loss` and `save`. Nothing is imported
until a name is used. docs/api.md shows every name; errors are in `eetool.errors`.
"""

import sys
from types import ModuleType

TYPE_CHECKING = False  # type checkers take it for true; the module typing takes longer than all the rest

if TYPE_CHECKING:
    from typing import Any

    from eetool import errors as errors
    from eetool.api.attaching import attach_exits as attach_exits
    from eetool.api.benchmarking import bench as bench
    from eetool.api.cascading import cascade as cascade
    from eetool.api.checkpoints import load_checkpoint as load_checkpoint
    from eetool.api.checkpoints import load_data as load_data
    from eetool.api.checkpoints import save as save
    from eetool.api.estimating import estimate as estimate
    from eetool.api.exporting import export as export
    from eetool.api.training import train as train
    from eetool.api.tuning import calibrate as calibrate
    from eetool.api.tuning import tune as tune
    from eetool.train.losses import distillation_loss as distillation_loss
    from eetool.train.losses import joint_loss as joint_loss
    from eetool_runtime import load as load

__version__ = "0.1.0"

__all__ = [
    "attach_exits",
    "bench",
    "calibrate",
    "cascade",
    "distillation_loss",
    "estimate",
    "export",
    "joint_loss",
    "load",
    "load_checkpoint",
    "load_data",
    "save",
    "train",
    "tune",
]

_PLACES = {
    "attach_exits": "eetool.api.attaching",
    "bench": "eetool.api.benchmarking",
    "calibrate": "eetool.api.tuning",
    "cascade": "eetool.api.cascading",
    "distillation_loss": "eetool.train.losses",
    "estimate": "eetool.api.estimating",
    "export": "eetool.api.exporting",
    "joint_loss": "eetool.train.losses",
    "load": "eetool_runtime",
    "load_checkpoint": "eetool.api.checkpoints",
    "load_data": "eetool.api.checkpoints",
    "save": "eetool.api.checkpoints",
    "train": "eetool.api.training",
    "tune": "eetool.api.tuning",
}


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name == "errors":
        return import_module("eetool.errors")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_PLACES[name]), name)
    vars(sys.modules[__name__])[name] = found
    _share_names(name, found)
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "errors"})


class _Package(ModuleType):
    """This package, in which a function keeps its name where a subpackage has the same, such as `eetool.tune`."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PLACES and isinstance(value, ModuleType):  # the import system sets subpackages as attributes
            if name in vars(self):
                _share_names(name, vars(self)[name])
            return
        super().__setattr__(name, value)


def _share_names(name: str, function: "Any") -> None:
    """Let `eetool.tune.fit_policy` be found through the function `eetool.tune`, as through the subpackage."""
    package = sys.modules.get(f"{__name__}.{name}")
    if package is not None:
        function.__dict__ = vars(package)


sys.modules[__name__].__class__ = _Package
