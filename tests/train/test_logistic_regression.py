"""Logistic regression: the same classifier as scikit-learn's, and strengths that fit the data."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from eetool.train.logistic_regression import PENALTIES, fit_logistic_regression

CLASSES = 3


def blobs(count: int, features: int, distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normal features around one mean for each class, each feature with another offset and scale."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    means = torch.randn(CLASSES, features, generator=generator) * distance
    x = torch.randn(count, features, generator=generator) + means[labels]
    return x * torch.linspace(0.1, 5, features) + torch.linspace(-3, 3, features), labels


def test_fit_logistic_regression_equals_scikit_learn() -> None:
    x, labels = blobs(300, 5, 1.0)
    fitted = fit_logistic_regression(x, labels, CLASSES)
    scale = x.std(0, correction=0)
    other = LogisticRegression(C=1 / (len(x) * fitted.penalty), max_iter=2000, tol=1e-8)
    other.fit(((x - x.mean(0)) / scale).numpy(), labels.numpy())
    own = torch.softmax(x @ fitted.weight.T + fitted.bias, 1).numpy()
    assert np.abs(own - other.predict_proba(((x - x.mean(0)) / scale).numpy())).max() < 2e-3


def test_fit_logistic_regression_noise_has_a_stronger_penalty_than_signal() -> None:
    noise = fit_logistic_regression(*blobs(90, 40, 0.0), CLASSES)
    signal = fit_logistic_regression(*blobs(900, 4, 1.0), CLASSES)
    assert noise.penalty > signal.penalty
    assert noise.penalty == max(PENALTIES)


@pytest.mark.parametrize("has_bias", [True, False])
def test_fit_logistic_regression_constant_features_and_absent_classes_are_possible(has_bias: bool) -> None:
    x, labels = blobs(60, 4, 3.0)
    x[:, 1] = 2.0
    fitted = fit_logistic_regression(x, labels, CLASSES + 1, has_bias)
    assert fitted.weight.shape == (CLASSES + 1, 4)
    predicted = (x @ fitted.weight.T + fitted.bias).argmax(1)
    assert (predicted == labels).float().mean() > 0.9
    assert has_bias or not fitted.bias.any()


def test_fit_logistic_regression_of_very_few_examples_is_finite() -> None:
    x, labels = blobs(3, 8, 3.0)
    fitted = fit_logistic_regression(x, labels, CLASSES)
    assert bool(fitted.weight.isfinite().all())
    assert (x @ fitted.weight.T + fitted.bias).argmax(1).tolist() == labels.tolist()
