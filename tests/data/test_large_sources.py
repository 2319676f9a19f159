"""Images in a memory-mapped file: training, evaluation and calibration use them without a copy of all."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from eetool.data.image_rows import ImageRows, image_tensor
from eetool.data.rows import Rows, take

# The address space has room for the file and two fifths of it. A copy of the training part, or the others as floats,
# would not fit.
PROGRAM = """
import resource, sys
import numpy as np, sklearn.model_selection, torch
from eetool.data.augmentation import Augmentation
from eetool.data.image_rows import image_tensor
from eetool.data.odd_examples import odd_examples
from eetool.data.rows import take
from eetool.data.source import Source, validate_source
from eetool.data.splits import TEST, THRESHOLD, TRAIN, split_source
from eetool.export.calibration import calibration_inputs, evenly_spaced
from eetool.data.model_inputs import model_inputs
from eetool.train.pixel_statistics import pixel_statistics
from eetool.train.training_examples import TrainingExamples
from eetool.tune.outputs import predict_in_chunks
from eetool_runtime.manifest import Input, Preprocess

path, count = sys.argv[1], 2400
torch.set_num_threads(1)
written = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, 144, 144))  # sparse: it takes no disk
written[:, 0, 0] = np.random.default_rng(0).integers(0, 256, (count, 144), dtype=np.uint8)
del written
pixel_statistics(torch.arange(9 * 3 * 144 * 144).to(torch.uint8).view(9, 3, 144, 144), "first")  # what torch reserves
split_source(Source("few", np.zeros((60, 1, 2, 2), np.uint8), np.arange(60) % 2, ("a", "b"), mirror=False))
np.zeros((64, 64), np.float32) @ np.zeros((64, 64), np.float32)
pages = int(open("/proc/self/statm").read().split()[0])
size = count * 3 * 144 * 144
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size + size * 3 // 5,) * 2)

source = validate_source(
    Source("large", np.load(path, mmap_mode="c"), np.arange(count) % 2, ("a", "b"), mirror=False)
)
print(*odd_examples(source), sep="\\n")
splits = split_source(source)
images = image_tensor(source.inputs, splits[TRAIN])
mean, std = pixel_statistics(images, source.name)
labels = torch.from_numpy(source.labels[splits[TRAIN]])
examples = TrainingExamples(images, labels, mean, std, Augmentation(mirror=True))
examples = examples.to(torch.device("cpu"))
draw = examples.draw(torch.Generator())
batch = examples.normalise(examples.batch(torch.arange(0, len(images), 40), draw))
spec = Input("input", "float32", ("batch", 3, 144, 144), Preprocess(1 / 255, tuple(mean.tolist()), tuple(std.tolist())))
held = take(source.inputs, np.concatenate([splits[TEST], splits[THRESHOLD]]))

def answers_of(x):
    parts = [model_inputs(x[i : i + 32], spec).mean((1, 2, 3)) for i in range(0, len(x), 32)]
    return np.concatenate(parts)[None, :, None], None


answers, _ = predict_in_chunks(answers_of, held, lambda n: None)
calibration = calibration_inputs(source.inputs[evenly_spaced(splits[TRAIN], 64)], (spec,))
print(len(images), len(batch), answers.shape[1], len(calibration["input"]))
"""


def test_large_source_needs_no_memory_for_all_examples(tmp_path: object) -> None:
    command = [sys.executable, "-c", PROGRAM, f"{tmp_path}/pixels.npy"]
    # One arena and one thread: others reserve address space that they do not use.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1174 30 1057 64"


@pytest.fixture
def mapped(tmp_path: object) -> np.memmap:
    np.save(f"{tmp_path}/pixels.npy", np.random.default_rng(0).integers(0, 256, (9, 2, 3, 4), dtype=np.uint8))
    pixels = np.load(f"{tmp_path}/pixels.npy", mmap_mode="c")
    assert isinstance(pixels, np.memmap)
    return pixels


def test_rows_of_a_file_equal_those_of_an_array(mapped: np.memmap) -> None:
    indices, array = np.array([7, 2, 5]), np.array(mapped)
    rows, expected = take(mapped, indices), array[indices]
    assert isinstance(rows, Rows)
    assert isinstance(take(array, indices), np.ndarray)
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (expected.shape, 4, np.uint8, 3)
    for key in (1, slice(1, 3), np.array([2, 0])):
        np.testing.assert_array_equal(rows[key], expected[key])


def test_image_rows_behave_like_the_tensor(mapped: np.memmap) -> None:
    indices, chosen = np.array([7, 2, 5]), torch.tensor([2, 0])
    rows, expected = image_tensor(mapped, indices), image_tensor(np.array(mapped), indices)
    assert isinstance(rows, ImageRows)
    assert isinstance(expected, torch.Tensor)
    assert (rows.shape, rows.dtype, rows.device, len(rows)) == (expected.shape, torch.uint8, expected.device, 3)
    assert rows.nbytes == expected.nbytes
    assert rows.to(torch.device("cpu")) is rows
    for actual, wanted in ((rows[:2], expected[:2]), (rows.index_select(0, chosen), expected[chosen])):
        assert torch.equal(actual, wanted)
