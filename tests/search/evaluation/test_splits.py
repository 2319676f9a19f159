"""Data parts of a search."""

from eetool.data.source import Source
from eetool.data.splits import TEST, TRAIN, split_record, split_source
from eetool.search.evaluation.splits import load_search_data


def test_load_search_data_never_uses_test_split(digits: Source) -> None:
    data = load_search_data(digits, 200)
    splits = split_source(digits)
    assert data.record.splits[TEST] == split_record(splits)[TEST]
    seen = {image.tobytes() for image in digits.inputs[splits[TRAIN]]}
    learned = {image.numpy().tobytes() for image in data.training.images}
    assert learned < seen
    assert len(data.training.labels) + len(data.judge.labels) == len(splits[TRAIN])
    judged = {image.numpy().tobytes() for image in data.judge.inputs()}
    taught = {image.numpy().tobytes() for image in data.branches.inputs()}
    assert not judged & taught
    assert len(data.branches.labels) == 200
