"""Statistics of served models among the metrics that a server shows to Prometheus.

The servers use prometheus_client, whose default registry one collector joins for all models of the process. Calls by
exit are in `eetool_exits_total`, so that a service can be billed by depth.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from ..model import Model


class ModelsCollector:
    """A collector of prometheus_client: `Model.prometheus` of every model, labelled with the name it is served by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}

    def put(self, name: str, model: Model) -> None:
        """Add a model, in place of an earlier one of this name."""
        with self._lock:
            self._models[name] = model

    def remove(self, name: str) -> None:
        """Remove a model, if it is there."""
        with self._lock:
            self._models.pop(name, None)

    def describe(self) -> list[Any]:
        """Return nothing: the names of metrics depend on what was called."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield every family of metrics once, with the samples of all models."""
        with self._lock:
            models = dict(self._models)
        families: dict[str, Any] = {}
        for name, model in models.items():
            for family in text_string_to_metric_families(model.prometheus()):
                for sample in family.samples:
                    sample.labels["model"] = name
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples.extend(family.samples)
        yield from families.values()


MODELS = ModelsCollector()
REGISTRY.register(MODELS)
