"""Answer the numbered images of a folder in their order, as frames of a camera.

    python camera.py digits.eebundle clip
    python camera.py digits.eebundle clip --alone     # every frame by itself

One line per frame on stdout: its number, label, the label of this frame alone, probability, exit and latency.
"""

import argparse
import re
import sys
from pathlib import Path

import eetool_runtime as ee
from eetool_runtime.manifest import StreamPolicy


def main(arguments: "list[str] | None" = None) -> int:
    """Answer all frames, and print the figures of the clip."""
    parser = argparse.ArgumentParser(description="Answer the numbered images of a folder in their order.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("clip", type=Path, help="folder of images; the number is in the name")
    parser.add_argument("--period-s", type=float, default=0.1, help="from one frame to the next")
    parser.add_argument("--deadline-ms", type=float, help="of every frame")
    parser.add_argument("--alone", action="store_true", help="answer every frame by itself")
    options = parser.parse_args(arguments)
    try:
        model = ee.load(options.bundle)
        stream = open_stream(model, options.period_s, options.alone)
        labels = known_labels(options.clip)
        for number, path in frames(options.clip):
            result = stream(
                read(model, path),
                time_s=number * options.period_s,
                deadline_ms=options.deadline_ms,
                true_label=labels.get(number),
            )
            alone = "no frame" if result.exit < 0 else result.raw_label or "not finite"
            print(
                f"{number:6d}  {result.label:12s} alone {alone:12s} {result.confidence:6.3f}  exit {result.exit:2d}  "
                f"{result.latency_ms:7.2f} ms{'  held' if result.held else ''}"
            )
    except ee.EarlyExitError as error:
        print(f"error: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    print(summary(stream.stats()))
    return 0


def open_stream(model: ee.Model, period_s: float, alone: bool):
    """Return a stream with the policy of the bundle, or else one of this program."""
    early, classes = len(model.thresholds), len(model.labels)
    if model.bundle.manifest.stream is not None and not alone:
        return model.stream()
    epsilon = 1.0 if alone else 0.02  # 1 forgets the frames before
    policy = StreamPolicy(epsilon, (0.95,) * early, check_every=0 if alone else 20, gap_s=20 * period_s)
    return model.stream(policy=policy, base_rates=[1 / classes] * classes, period_s=period_s)


def frames(clip: Path) -> "list[tuple[int, Path]]":
    """Return the images of a folder by the last number in their names: frame 2 before frame 10."""
    numbered = []
    for path in clip.iterdir():
        numbers = re.findall(r"\d+", path.stem)
        if numbers and path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"):
            numbered.append((int(numbers[-1]), path))
    return sorted(numbered)


def read(model: ee.Model, path: Path):
    """Return an image as model input, or None where it cannot be read: the stream then answers without it."""
    try:
        return model.preprocess(path)
    except ee.EarlyExitError as error:
        if error.exit_code != 3:  # such as a library that is missing
            raise
        return None


def known_labels(clip: Path) -> "dict[int, str]":
    """Return the right label of every frame, where the folder has `labels.txt`."""
    file = clip / "labels.txt"
    return dict(enumerate(file.read_text(encoding="utf-8").split())) if file.exists() else {}


def summary(figures: "dict") -> str:
    """Return the figures of a clip as a line."""
    parts = [f"{figures['frames']} frames", f"{figures['without_evidence']} lost", f"{figures['held']} held"]
    if figures["compute_saved"] is not None:
        parts.append(f"{100 * figures['compute_saved']:.0f} % of the MACs saved")
    reaction = figures["reaction"]
    if reaction is not None:
        parts.append(f"{100 * reaction['accuracy']:.1f} % right")
        parts.append(f"{reaction['false_switches']} false switches")
        if reaction["mean_s"] is not None:
            parts.append(f"reaction {reaction['mean_s']:.2f} s, p95 {reaction['p95_s']:.2f} s")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
