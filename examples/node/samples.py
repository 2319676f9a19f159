"""Samples of a bundle with the thresholds and labels of the single file, for run.mjs. JSON on stdout.

    python samples.py model.onnx model.eebundle > samples.json

onnxruntime-node does not expose the metadata of a file, so the JSON holds the needed fields.
"""

import json
import sys

import onnx

from eetool_runtime import open_bundle


def main(single_file: str, bundle_path: str) -> None:
    """Print the document for a model with one float32 input."""
    metadata = {entry.key: entry.value for entry in onnx.load(single_file).metadata_props}
    points = json.loads(metadata["eetool.operating_points"])
    (input_spec,) = json.loads(metadata["eetool.inputs"])
    bundle = open_bundle(bundle_path)
    samples = bundle.arrays(bundle.manifest.samples)[input_spec["name"]]
    document = {
        "input": input_spec["name"],
        "shape": [1, *samples.shape[1:]],
        "labels": json.loads(metadata["eetool.labels"]),
        "operating_points": {name: point["thresholds"] for name, point in points.items()},
        "samples": [sample.ravel().tolist() for sample in samples],
    }
    print(json.dumps(document))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python samples.py model.onnx model.eebundle > samples.json")
    main(*sys.argv[1:])
