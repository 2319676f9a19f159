"""Devices of `offload.py`: profiles, tuning by a measured link, and latencies with the server.

A device is this machine, or one whose graphs take as many times as long as its hw profile says of the main cascade.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from offload_cases import MAIN, ROOT, Case, Settings, bundle_of, eetool, kept, python
from offload_links import TIMEOUT_MS, URL, LazyLink

HERE = "this machine"
_MIN_SECONDS = 3.0
_FEW = 300  # test images where the server is asked against the advice of `tune`


def estimate(settings: Settings, case: Case, device: str) -> dict[str, float]:
    """Return the predicted latency of every component on a device."""
    document = eetool("estimate", bundle_of(settings, case), "--device", device)
    return {graph["name"]: graph["latency_ms"] for graph in document["graphs"]}


def estimated(settings: Settings, case: Case, device: str) -> dict[str, float]:
    """Return `estimate`, from its file where there is one."""
    path = settings.out / f"{case.network}.{device}.estimate.json"
    times: dict[str, float] = kept(path, partial(estimate, settings, case, device))
    return times


def slowdowns(settings: Settings) -> dict[str, float]:
    """Return by device how many times as long the main cascade takes there as here, at full depth with all exits."""
    here = components_ms(profile_of(settings, HERE, None))
    times = {device: sum(estimated(settings, MAIN, device).values()) for device in settings.devices}
    return {device: round(there / here, 1) for device, there in times.items()}


def profile_of(settings: Settings, device: str, slowdown: float | None) -> Path:
    """Return the measured profile of the main case on a device."""
    path = settings.out / f"profile-{device.replace(' ', '-')}.json"
    if not path.exists():
        rules = ("--threads", 1, "--runs", settings.runs, "--accept-unstable")
        eetool("profile", bundle_of(settings, MAIN), *rules, "-o", path, slowdown=slowdown)
    return path


def tuned_bundle(folder: Path, device: str) -> Path:
    """Return the path of the main case's bundle as it is tuned for a device and link."""
    return folder / f"tuned-{device.replace(' ', '-')}.eebundle"


def tune(settings: Settings, folder: Path, device: str, slowdown: float | None) -> dict[str, Any]:
    """Tune the main case by the measured link in `folder`; return the choice of every operating point."""
    link = ("--link", folder / f"{MAIN.name}.link.json", "--offload-timeout-ms", TIMEOUT_MS)
    costs = ("--profile", profile_of(settings, device, slowdown))
    output = ("-o", tuned_bundle(folder, device), "--force")
    document = eetool("tune", bundle_of(settings, MAIN), "--data", settings.data, *costs, *link, *output)
    choice: dict[str, Any] = document["offload"]
    return choice


def bench(settings: Settings, link: LazyLink, tuned: Path | None, slowdown: float | None) -> dict[str, Any]:
    """Measure a tuned bundle with the server at the end of a link, and without; None: the bundle as it was exported.

    All points of the latter ask the server. It is measured on few images and in one pass.
    """
    bundle, images, passes = tuned, settings.images, settings.passes
    if tuned is None:
        bundle, images, passes = bundle_of(settings, MAIN), min(_FEW, images), 1
    order = {"path": str(bundle), "data": settings.data, "url": URL, "timeout_ms": TIMEOUT_MS}
    order |= {"images": images, "passes": passes, "min_seconds": _MIN_SECONDS}
    script = ROOT / "benchmarks/offload_bench.py"
    document = python(script, json.dumps(order), prefix=link.prefix(), slowdown=slowdown)
    ways = [{**way, "error": _error(way)} for way in document["ways"]]
    return {**document, "tuned": tuned is not None, "ways": ways}


def _error(way: dict[str, Any]) -> float | None:
    """Return predicted over measured latency, less one."""
    predicted = way["predicted_ms"]
    return None if predicted is None else predicted / way["measured_ms"] - 1


def measure_device(
    settings: Settings, folder: Path, link: LazyLink, device: str, slowdown: float | None
) -> dict[str, Any]:
    """Tune the main case for a device and link, and measure what was chosen.

    Where no operating point asks the server, the bundle as it was exported is measured: what the choice avoided.
    """
    slow = achieved_slowdown(settings, device, slowdown)
    choice = kept(folder / f"{device}.choice.json", partial(tune, settings, folder, device, slowdown))
    asks = bool(choice["operating_points"])
    bundle = tuned_bundle(folder, device) if asks else None
    measured = kept(folder / f"{device}.bench.json", partial(bench, settings, link, bundle, slowdown))
    return {"device": device, "slowdown": slow, "choice": choice, "asks": asks, "bench": measured}


def achieved_slowdown(settings: Settings, device: str, slowdown: float | None) -> float:
    """Return how many times as long the components took in the profile of a device as in that of this machine.

    Raises:
        SystemExit: that is far less than `slowdown`, so the measured processes were not slowed.
    """
    here, there = (components_ms(profile_of(settings, *one)) for one in ((HERE, None), (device, slowdown)))
    if slowdown is not None and there / here < 0.5 * slowdown:
        raise SystemExit(f"{device}: graphs take {there / here:.1f} times as long, not {slowdown:.1f}")
    return round(there / here, 1)


def components_ms(profile: Path) -> float:
    """Return the sum of the components' median latencies in a profile."""
    document = json.loads(profile.read_text(encoding="utf-8"))
    return sum(c["latency_ms"]["median"] for c in document["thread_counts"][0]["components"])


def measure_devices(
    settings: Settings, folder: Path, link: LazyLink, factors: dict[str, float]
) -> list[dict[str, Any]]:
    """Measure devices over a link, the fastest first, up to the first one that asks the server."""
    rows: list[dict[str, Any]] = []
    for device, factor in sorted(factors.items(), key=lambda item: item[1]):
        rows.append(measure_device(settings, folder, link, device, factor))
        if rows[-1]["asks"]:
            break
    return rows


def ask_all_the_same(settings: Settings, folder: Path, link: LazyLink) -> None:
    """Measure the bundle as it was exported on this machine, where every point asks the server."""
    path = folder / f"{HERE}.bench.json"
    kept(path, partial(bench, settings, link, None, None))


def choice_here(settings: Settings, folder: Path, link: LazyLink) -> dict[str, Any]:
    """Return what `measure_device` does for this machine; only the tuning is left to do, which is not timed."""
    return measure_device(settings, folder, link, HERE, None)
