"""Charts of a learning curve: the loss and the accuracy of every exit after each epoch."""

from collections.abc import Iterator, Sequence

from eetool.model.history import TrainingHistory
from eetool.report.chart import Chart
from eetool.report.chart_theme import BLUE, VERMILION, Spec, chart, exit_name, quantity
from eetool.wording import counted

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 6])


def learning_charts(history: TrainingHistory | None) -> Iterator[Chart]:
    """Yield the charts of a learning curve; none where there is none."""
    if history is None:
        return
    kept = f"The rule is epoch {history.kept_epoch}, whose weights were kept."
    if not history.kept_epoch:
        kept = "No epoch was better than the weights before the first, which were kept."
    values = _values([epoch.training_loss for epoch in history.epochs])
    spec = _curves("training loss of every exit after each epoch", "training loss (nats)", values, history)
    caption = f"Cross-entropy on the training batches, as they were augmented. {kept}"
    yield Chart("learning-loss", "training", "Loss while training", caption, spec)
    if history.split is None:
        return
    values = _values([epoch.validation_accuracy for epoch in history.epochs], 100)
    spec = _curves("validation accuracy of every exit after each epoch", "accuracy (%)", values, history)
    caption = f"On {counted(history.examples, 'example')} of the split {history.split}, without gates. {kept}"
    yield Chart("learning-accuracy", "training", "Accuracy while training", caption, spec)


def _values(curves: Sequence[Sequence[float | None]], scale: float = 1) -> list[Spec]:
    return [
        {"epoch": epoch, "exit": exit_name(k, len(figures)), "value": scale * value}
        for epoch, figures in enumerate(curves, 1)
        for k, value in enumerate(figures)
        if value is not None
    ]


def _curves(description: str, title: str, values: Sequence[Spec], history: TrainingHistory) -> Spec:
    n = len(history.epochs[0].training_loss)
    names = [exit_name(k, n) for k in range(n)]
    colours = [BLUE] * (n - 1) + [VERMILION]
    dashes = [_DASHES[k % len(_DASHES)] for k in range(n - 1)] + [_DASHES[0]]
    x = {**quantity("epoch", "epoch", (1, max(len(history.epochs), 2))), "axis": {"tickMinStep": 1, "format": "d"}}
    layers: list[Spec] = [
        {
            "data": {"values": [{"epoch": history.kept_epoch}] if history.kept_epoch else []},
            "mark": {"type": "rule", "strokeDash": [4, 4], "opacity": 0.6},
            "encoding": {"x": x},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1.8, "point": len(history.epochs) == 1},
            "encoding": {
                "x": x,
                "y": quantity("value", title, zero=False, padding=8),
                "color": {"field": "exit", "scale": {"domain": names, "range": colours}, "sort": None, "legend": {}},
                "strokeDash": {
                    "field": "exit",
                    "scale": {"domain": names, "range": dashes},
                    "sort": None,
                    "legend": {},
                },
            },
        },
    ]
    return chart(description, 240, values, layers)
