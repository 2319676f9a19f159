"""`eetool.cascade`: trained networks joined to one model, with weights and order fitted on held-out examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.api.arguments import (
    Data,
    PathLike,
    References,
    as_path,
    as_progress,
    as_source,
    check_number,
    checkpoint_file,
    own_references,
)
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.latency.estimate.cascade_cost import CascadeCosts
    from eetool.model.checkpoint import Checkpoint
    from eetool.tune.network_order import CascadeChoice, HeldOutAnswers, OrderSearch, Weights

_MACS, _LATENCY = "macs", "latency_ms"


@dataclass(frozen=True)
class NetworkFit:
    """Figures of networks on held-out examples.

    Attributes:
        unit: `macs`, or `latency_ms` on `device`.
        device: device whose table the costs are predicted from; None for MACs.
        max_accuracy_drop: in percentage points, against the most accurate full depth of the cascades that were tried.
        n: number of examples.
        reference_accuracy: accuracy that the drop counts from.
        given: all networks in the given order.
        chosen: the networks of the cascade.
        without: for each network that was left out, by index, the cheapest cascade that has it; None where none keeps
            the drop.
        tried: number of cascades.
        weights: of the exits of every network from the second on: for their own logits and those before.
    """

    unit: str
    device: str | None
    max_accuracy_drop: float
    n: int
    reference_accuracy: float
    given: "CascadeChoice"
    chosen: "CascadeChoice"
    without: "dict[int, CascadeChoice | None]"
    tried: int
    weights: "tuple[tuple[Weights, ...], ...]"

    @property
    def unused(self) -> tuple[int, ...]:
        """Networks, by their place in the cascade, at which no example leaves."""
        from eetool.tune.network_order import unused

        return tuple(unused(self.chosen))


@dataclass(frozen=True)
class JoinedNetworks:
    """Result of joining networks.

    Attributes:
        checkpoint: the cascade; the network itself where one alone was chosen.
        output: file that was written; None where nothing was.
        names: files of the given networks.
        order: indices of the networks in the cascade, in running order.
        macs: MACs of each given network alone.
        fit: figures on held-out examples; None without data.
        learned_confidence: networks of the cascade, by their place, whose learned confidence is left out: the
            classifiers of networks have none, so all exits use the softmax.
    """

    checkpoint: "Checkpoint"
    output: Path | None
    names: tuple[str, ...]
    order: tuple[int, ...]
    macs: tuple[int, ...]
    fit: NetworkFit | None
    learned_confidence: tuple[int, ...] = ()


def cascade(
    models: "Sequence[PathLike | Checkpoint]",
    output: PathLike | None = None,
    *,
    together: bool = False,
    fit_order: bool = False,
    data: Data | None = None,
    max_accuracy_drop: float = 1.0,
    device: str | None = None,
    reference: References = None,
    force: bool = False,
    progress: Progress | None = None,
) -> JoinedNetworks:
    """Join trained networks to a cascade: inputs that leave at no exit of one network go to the next.

    >>> joined = eetool.cascade(["small.pt", "big.pt"], "cascade.pt", together=True, data="cifar10")
    >>> eetool.tune("cascade.pt", "cifar10")

    Every network reads the input anew. Exits inside a network stay exits, and its own final exit becomes one. The
    result is tuned, exported and measured as any model.

    Args:
        models: a model.pt or a checkpoint of each network, from cheap to expensive, with the same classes and inputs.
            Pixels may be normalised in different ways.
        output: file to write; without it the cascade is only returned.
        together: the networks add up their logits, with weights fitted on the split `temperature` of `data`; otherwise
            each answers alone.
        fit_order: choose the networks and their order: the cheapest cascade within `max_accuracy_drop`.
        data: the data that the networks were trained on. Without `together` and `fit_order` it only shows what each
            network contributes.
        max_accuracy_drop: percentage points that the cascade may lose against full depth, with `fit_order` against the
            most accurate of all that are tried.
        device: a hw profile, such as `rpi4`, whose predicted latency is minimised; MACs without one.
        reference: your code that builds networks of a model.pt.
        force: replace an existing output.
        progress: observer of the work.

    Raises:
        eetool.errors.UsageError: the networks do not belong together, or data are missing.
        eetool.errors.ArtefactError: a file is no checkpoint, or was trained on other data.
        eetool.errors.OutputError: the output exists.
    """
    with python_errors():
        check_number("max_accuracy_drop", max_accuracy_drop, 0, 100)
        if isinstance(models, (str, bytes)) or not isinstance(models, (list, tuple)):
            raise UsageError(f"models is {models!r}", "Give a list of a model.pt for each network.")
        from eetool.train.module_reference import named_references

        order = CascadeOrder(
            tuple(models),
            None if output is None else as_path(output, "the cascade"),
            together,
            fit_order,
            data,
            float(max_accuracy_drop),
            device,
            named_references(reference),
            force,
        )
        return join_models(order, as_progress(progress))


@dataclass(frozen=True)
class CascadeOrder:
    """Networks to join, and what is fitted; fields are the arguments of `cascade`."""

    models: "tuple[PathLike | Checkpoint, ...]"
    output: Path | None
    together: bool
    fit_order: bool
    data: Data | None
    max_accuracy_drop: float
    device: str | None
    references: tuple[str, ...]
    force: bool


def join_models(order: CascadeOrder, progress: Progress) -> JoinedNetworks:
    """Join the networks of `order`, and write the cascade.

    Raises:
        UsageError, ArtefactError, OutputError: see `cascade`.
    """
    from eetool.model.checkpoint import save_checkpoint
    from eetool.model.network_joining import check_networks, join_networks
    from eetool.records import check_output
    from eetool.tune.exit_costs import model_macs

    if order.data is None and (order.together or order.fit_order):
        option = "--together" if order.together else "--fit-order"
        raise UsageError(f"{option} is fitted on held-out examples", "Give --data, as the networks were trained on it.")
    if order.data is None and order.device is not None:
        raise UsageError("costs on a device are weighed on held-out examples", "Give --data, or leave --device out.")
    if order.output is not None:
        check_output(order.output, order.force)
    networks, names = _open(order)
    check_networks(networks, names)
    macs = tuple(int(model_macs(network.record.spec).leaving(_full(network))[-1]) for network in networks)
    whole = join_networks(networks, order.together)
    fit = None if order.data is None else _fit(order, networks, names, whole, progress)
    chosen = tuple(range(len(networks))) if fit is None else fit.chosen.order
    checkpoint = _joined([networks[i] for i in chosen], order.together)
    if fit is not None and checkpoint.record.spec.ensemble:
        checkpoint = _with_weights(checkpoint, fit)
    if order.output is not None:
        save_checkpoint(order.output, checkpoint, order.force)
    learned = (place for place, i in enumerate(chosen) if networks[i].record.spec.learned_confidence)
    return JoinedNetworks(checkpoint, order.output, names, chosen, macs, fit, tuple(learned) if len(chosen) > 1 else ())


def _open(order: CascadeOrder) -> "tuple[list[Checkpoint], tuple[str, ...]]":
    """Return the networks with their names for messages."""
    from eetool.model.checkpoint import Checkpoint, load_checkpoint

    networks, names = list[Checkpoint](), list[str]()
    for index, model in enumerate(order.models):
        if isinstance(model, Checkpoint):
            names.append(f"network {index}")
            networks.append(model)
            continue
        path = as_path(model, "a model.pt")
        if str(path) in names:
            raise UsageError(f"{path} is given twice", "A network that runs again says the same again.")
        names.append(str(path))
        networks.append(load_checkpoint(path, order.references, among_others=True))
    return networks, tuple(names)


def _full(network: "Checkpoint") -> tuple[None, ...]:
    return (None,) * len(network.record.spec.taps)


def _joined(networks: "Sequence[Checkpoint]", together: bool) -> "Checkpoint":
    """Return the cascade; one network alone stays what it is, without a policy."""
    from dataclasses import replace

    from eetool.model.network_joining import join_networks

    if len(networks) > 1:
        return join_networks(networks, together)
    return replace(networks[0], record=replace(networks[0].record, policy=None))


def _fit(
    order: CascadeOrder,
    networks: "Sequence[Checkpoint]",
    names: Sequence[str],
    whole: "Checkpoint",
    progress: Progress,
) -> NetworkFit:
    """Return the choice of networks, and the weights of their logits, on held-out examples."""
    from eetool.tune.network_order import OrderSearch

    assert order.data is not None
    costs = _costs(order, whole)
    answers = _answers(order.data, networks, names, progress)
    search = OrderSearch(answers, costs, order.together, order.max_accuracy_drop, every_order=order.fit_order)
    choices = search.all_choices()
    chosen = search.best(choices)
    return NetworkFit(
        unit=_MACS if order.device is None else _LATENCY,
        device=order.device,
        max_accuracy_drop=order.max_accuracy_drop,
        n=len(answers.labels),
        reference_accuracy=search.reference_accuracy,
        given=search.choice(search.given),
        chosen=chosen,
        without=_left_out(search, choices, chosen),
        tried=len(choices),
        weights=tuple(search.weights(chosen.order)),
    )


def _left_out(
    search: "OrderSearch", choices: "Sequence[CascadeChoice]", chosen: "CascadeChoice"
) -> "dict[int, CascadeChoice | None]":
    """Return for each network that was left out the cheapest cascade with it."""
    out: dict[int, CascadeChoice | None] = {}
    for index in search.given:
        if index not in chosen.order:
            with_it = [choice for choice in choices if index in choice.order and choice.cost is not None]
            out[index] = search.best(with_it) if with_it else None
    return out


def _costs(order: CascadeOrder, whole: "Checkpoint") -> "CascadeCosts":
    """Return the costs of all networks in the given order."""
    from eetool.export.temporary_bundle import temporary_bundle
    from eetool.tune.device_costs import predicted_costs
    from eetool.tune.exit_costs import model_macs

    if order.device is None:
        return model_macs(whole.record.spec)
    with checkpoint_file(whole) as path:
        return predicted_costs(path, order.device, temporary_bundle, named=own_references(whole)).costs


def _answers(
    data: Data, networks: "Sequence[Checkpoint]", names: Sequence[str], progress: Progress
) -> "HeldOutAnswers":
    """Return the logits of each network for the held-out examples."""
    from eetool.data.contents import as_recorded
    from eetool.data.image_form import model_form
    from eetool.data.source import check_classes
    from eetool.data.splits import TEMPERATURE, recorded_split
    from eetool.data.vocabulary import use_model_vocabulary
    from eetool.train.exit_answers import NetworkAnswers
    from eetool.tune.cross_fitting import LabelledLogits
    from eetool.tune.fit_policy import predict_held_out
    from eetool.tune.network_order import HeldOutAnswers

    held, fitted = list[LabelledLogits](), 0
    for network, name in zip(networks, names, strict=True):
        record = network.record
        source = as_source(data, progress, model_form(record.spec.inputs, name))
        check_classes(source, record.spec.labels, name)
        source = as_recorded(source, record.data, record.contents, progress)
        source = use_model_vocabulary(source, record.spec.inputs)
        held.append(predict_held_out(source, record.data, NetworkAnswers(network), progress))
        fitted = len(recorded_split(source, TEMPERATURE, record.data))
    return HeldOutAnswers(tuple(one.logits for one in held), held[0].labels, fitted)


def _with_weights(checkpoint: "Checkpoint", fit: NetworkFit) -> "Checkpoint":
    """Return a cascade with the fitted weights."""
    from dataclasses import replace

    from eetool.model.network_cascade import sum_weights

    return replace(checkpoint, state={**checkpoint.state, **sum_weights(fit.weights)})
