"""Result of `eetool profile --link`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.latency.estimate.link import CallTimes, Link


def link_result(link: "Link") -> CommandResult:
    """Return the times of a link, and what is known of the interface."""
    from eetool.latency.estimate.link import POWER_SAVE_ON, SCHEMA

    trip = link.round_trip_ms
    text: list[Any] = [
        f"{link.model} at {link.url_host}, {link.protocol}{' with TLS' if link.secure else ''}",
        table(dict.fromkeys(("bytes", "calls", "p50 ms", "p95 ms", "failed"), "right"), [_row(s) for s in link.sizes]),
        f"round trip: {'not known' if trip is None else f'{trip.p50:.2f} ms, p95 {trip.p95:.2f} ms'}",
        f"throughput: {_at_least(link.throughput_mbit_s)}",
        f"server: {'not known' if link.server_ms is None else f'{link.server_ms.p50:.2f} ms'}",
        f"energy of a call: {'not known' if link.energy_mj is None else f'{link.energy_mj:.3g} mJ'}",
        f"interface: {link.interface or 'not known'}"
        + ("" if link.power_save is None else f", Wi-Fi power save {link.power_save}"),
    ]
    failures = {kind: n for size in link.sizes for kind, n in (size.failures or {}).items()}
    if failures:
        text.append("failed calls: " + ", ".join(f"{kind} {n}" for kind, n in failures.items()))
    if link.power_save == POWER_SAVE_ON:
        text.append(
            f"warning: {link.interface} saves power, which delays answers: "
            f"`sudo iw dev {link.interface} set power_save off`, then measure again"
        )
    return CommandResult(SCHEMA, vars(link), text)


def _row(size: "CallTimes") -> tuple[str, ...]:
    times = ("–" if value is None else f"{value:.2f}" for value in (size.p50_ms, size.p95_ms))
    return (f"{size.bytes:,}", str(size.n), *times, str(len(size.failed_ms)))


def _at_least(value: float | None) -> str:
    return "not known" if value is None else f"at least {value:.3g} Mbit/s, the server's computing included"
