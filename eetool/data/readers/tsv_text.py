"""Texts with labels, one per line, as in SST-2 (Socher et al., 2013): `tsv:FILE` or `tsv:DIR`."""

from pathlib import Path

import numpy as np

from eetool.data.class_names import lookalikes
from eetool.data.readers.tsv_table import number_labels, odd_texts, read_tables
from eetool.data.source import Source
from eetool.data.vocabulary import add_vocabulary


def read_tsv_texts(place: Path) -> Source:
    """Read texts as token ids of equal length (see `eetool.data.vocabulary`); labels are numbers or names.

    In a folder, `train.tsv` is for training, `dev.tsv` the official validation set and `test.tsv` the official test
    set; where there is only one of the two, it is the test set.
    """
    notes: list[str] = []
    tables = read_tables(place, notes)
    texts = [row.text for table in tables.values() for row in table]
    classes, labels = number_labels(tables)
    notes += [*odd_texts(tables), *lookalikes(classes)]
    sizes = [len(table) for table in tables.values()]
    source = Source(
        f"tsv:{place.resolve().name}",
        np.zeros((len(texts), 1), np.int64),
        labels,
        classes,
        mirror=False,
        official_test=sizes[-1] if len(sizes) > 1 else 0,
        official_validation=sizes[1] if len(sizes) > 2 else 0,
        notes=tuple(notes),
    )
    return add_vocabulary(source, texts)
