"""Result of `eetool cascade`."""

from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.api.cascading import JoinedNetworks, NetworkFit
    from eetool.tune.network_order import CascadeChoice


def cascade_result(joined: "JoinedNetworks") -> CommandResult:
    """Return the networks of a cascade, and the figures that they were chosen by."""
    networks = [_network(joined, place, index) for place, index in enumerate(joined.order)]
    text: list[Any] = [_table(networks), *(_fit_lines(joined, joined.fit) if joined.fit is not None else ())]
    text += [
        f"note: the learned confidence of {joined.names[joined.order[place]]} is left out: "
        "all exits of a cascade use the softmax"
        for place in joined.learned_confidence
    ]
    text.append(f"wrote {joined.output}")
    fit = joined.fit
    document = {
        "output": str(joined.output),
        "together": joined.checkpoint.record.spec.ensemble,
        "networks": networks,
        "left_out": [joined.names[i] for i in range(len(joined.names)) if i not in joined.order],
        "fit": None if fit is None else _fit_document(joined, fit),
    }
    return CommandResult("cascade/1", document, text)


def _network(joined: "JoinedNetworks", place: int, index: int) -> dict[str, Any]:
    part = joined.checkpoint.record.spec.parts[place]
    fit = joined.fit
    return {
        "file": joined.names[index],
        "backbone": part.backbone,
        "exits": len(part.taps) + 1,
        "macs": joined.macs[index],
        "weights": [list(pair) for pair in fit.weights[place - 1]] if fit is not None and fit.weights and place else [],
        "share": fit.chosen.shares[place] if fit is not None else None,
    }


def _table(networks: list[dict[str, Any]]) -> Any:
    exits, rows = 0, []
    for place, network in enumerate(networks):
        first, exits = exits, exits + network["exits"]
        numbers = f"{first}" if network["exits"] == 1 else f"{first}–{exits - 1}"
        weights = "  ".join(f"{own:.2f} + {before:.2f}" for own, before in network["weights"])
        share = network["share"]
        rows.append(
            (
                str(place),
                network["file"],
                network["backbone"],
                numbers,
                f"{network['macs'] / 1e6:.2f} M",
                weights,
                "" if share is None else f"{100 * share:.1f} %",
            )
        )
    columns = {"network": "right", "file": "left", "backbone": "left", "exits": "left", "MACs": "right"}
    return table({**columns, "weights own + before": "left", "leave here": "right"}, rows)


def _fit_lines(joined: "JoinedNetworks", fit: "NetworkFit") -> list[str]:
    lines = [
        f"on {fit.n} held-out examples, at most {fit.max_accuracy_drop:g} points below "
        f"{'the best full depth' if fit.tried > 1 else 'full depth'} ({100 * fit.reference_accuracy:.2f} %): "
        f"{_figures(fit, fit.chosen)}"
    ]
    if fit.tried > 1:
        kept = " → ".join(joined.names[i] for i in fit.chosen.order)
        lines.append(f"of {fit.tried} cascades the cheapest: {kept}; as given: {_figures(fit, fit.given)}")
    for index, choice in fit.without.items():
        found = "no cascade with it keeps the drop" if choice is None else f"the best with it: {_figures(fit, choice)}"
        lines.append(f"left out: {joined.names[index]}; {found}")
    if len(joined.order) == 1:
        lines.append("one network alone is cheapest, so the output is this network and no cascade")
    for place, pairs in enumerate(fit.weights, 1):
        if not any(before for _, before in pairs):
            lines.append(
                f"warning: {joined.names[joined.order[place]]} takes nothing from the networks before it: without "
                "--together full depth costs less"
            )
    for place in fit.unused if len(joined.order) > 1 else ():
        lines.append(
            f"warning: no input leaves at {joined.names[joined.order[place]]} within the drop: it costs memory only; "
            "leave it out, or give --fit-order"
        )
    return lines


def _figures(fit: "NetworkFit", choice: "CascadeChoice") -> str:
    if choice.cost is None:
        return "not within the drop"
    place = f" on {fit.device}, predicted" if fit.device is not None else ""
    cost = f"{choice.cost / 1e6:.2f} M MACs" if fit.device is None else f"{choice.cost:.4g} ms"
    return f"mean {cost}{place}, accuracy {100 * choice.accuracy:.2f} %"


def _fit_document(joined: "JoinedNetworks", fit: "NetworkFit") -> dict[str, Any]:
    def document(choice: "CascadeChoice | None") -> dict[str, Any] | None:
        if choice is None:
            return None
        return {
            "files": [joined.names[i] for i in choice.order],
            "mean_cost": choice.cost,
            "accuracy": choice.accuracy,
            "full_accuracy": choice.full_accuracy,
            "shares": list(choice.shares),
        }

    return {
        "unit": fit.unit,
        "device": fit.device,
        "max_accuracy_drop": fit.max_accuracy_drop,
        "n": fit.n,
        "reference_accuracy": fit.reference_accuracy,
        "tried": fit.tried,
        "given": document(fit.given),
        "chosen": document(fit.chosen),
        "without": {joined.names[i]: document(choice) for i, choice in fit.without.items()},
        "unused": [joined.names[joined.order[place]] for place in fit.unused] if len(joined.order) > 1 else [],
    }
