"""Latency of a bundle with its server on the first test images, as `eetool bench --offload` measures it.

`bench` first answers every test image with every way, one by one, which takes half an hour on a slow device behind a
slow link. This does the same on fewer images. It is a process of its own, because it runs inside the namespace of an
emulated link and on a slower device; `offload_devices.py` starts it, with one argument in JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

from eetool.api.judged_examples import judged_examples
from eetool.bench.benchmark import BenchRules, accuracy_limit, bench_bundle
from eetool.bench.interleaved_timing import TimingRules
from eetool.data.image_form import model_form
from eetool.data.registry import load_source
from eetool.progress import SILENT
from eetool_measure.records import encode
from eetool_runtime import open_bundle
from eetool_runtime.offload import Offload


def measured(
    path: str, data: str, url: str, timeout_ms: float, images: int, passes: int, min_seconds: float
) -> dict[str, Any]:
    """Return the mean latency of every way by name, and the figures of those that ask the server."""
    bundle = open_bundle(Path(path))
    source = load_source(data, SILENT, model_form(bundle.manifest.inputs, path))
    indices, split = judged_examples(bundle, source, False, SILENT)
    variants = (next(iter(bundle.manifest.variants)),)
    offload = Offload(url, timeout_ms=timeout_ms)
    timing = TimingRules(passes, min_seconds)
    limit = accuracy_limit(bundle, None)
    rules = BenchRules(limit, None, variants, 1, timing, accept_unstable=True, offload=offload)
    document = bench_bundle(bundle, source, indices[:images], split, (), rules)
    assert document.offload is not None
    return {
        "images": document.data.n,
        "timed": document.timed,
        "passes": document.passes,
        "unstable": document.unstable,
        "mean_ms": {way.name: way.latency_ms.mean for way in document.ways},
        "accuracy": {way.name: way.accuracy for way in document.ways},
        "ways": encode(document.offload.ways),
    }


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))
