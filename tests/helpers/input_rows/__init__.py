"""The table of inputs: what is accepted, converted and refused. A test reads every row, and a tool writes the page."""

from tests.helpers.input_rows import (
    archive_rows,
    array_rows,
    folder_rows,
    image_rows,
    run_rows,
    sequence_rows,
    text_rows,
    user_rows,
    weight_rows,
)
from tests.helpers.input_rows.row import InputRow

GROUPS: dict[str, tuple[InputRow, ...]] = {
    "Image files, in `folder:` and `run`": image_rows.ROWS,
    "`folder:DIR`": folder_rows.ROWS,
    "`npz:FILE`": array_rows.ROWS,
    "`tsv:FILE` and `tsv:DIR`": text_rows.ROWS,
    "`cifar10:DIR`, `cifar100:DIR` and `svhn:DIR`": archive_rows.ROWS,
    "Sequences, in `npz:`, `signal:` and `frames:`": sequence_rows.ROWS,
    "`package.module:function`": user_rows.ROWS,
    "Inputs of `run`": run_rows.ROWS,
    "Weights and model files": weight_rows.ROWS,
}
