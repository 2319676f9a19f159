"""Preprocessing on the device and in training: equal results for the same pixels."""

import numpy as np
import pytest
import torch

from eetool.train.training_examples import TrainingExamples
from eetool_runtime.manifest import Input, Preprocess
from eetool_runtime.preprocess import preprocess


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_runtime_and_training_are_equal(channels: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, channels, 6, 7), np.uint8)
    mean, std = rng.uniform(0.2, 0.6, channels), rng.uniform(0.1, 0.4, channels)
    spec = Input("input", "float32", ("batch", channels, 6, 7), Preprocess(1 / 255, tuple(mean), tuple(std)))
    tensors = torch.from_numpy(images), torch.zeros(5, dtype=torch.int64)
    statistics = torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
    trained = TrainingExamples(*tensors, *statistics).normalise(tensors[0]).numpy()
    here = np.concatenate([preprocess(image.transpose(1, 2, 0), spec) for image in images])
    assert here.dtype == trained.dtype == np.float32
    np.testing.assert_allclose(here, trained, rtol=0, atol=4 * np.finfo(np.float32).eps * np.abs(trained).max())
