"""Writer of `runtimes/python/eetool_runtime/word_break_table.py`: the class of every character for splitting words.

    python tools/write_word_breaks.py [--oldest-python python3.9]

The property Word_Break comes from the package `regex`. The oldest Python that the runtime supports is asked which
characters its `unicodedata` knows: only these are folded and normalised, so that every Python does it alike.
"""

import argparse
import binascii
import itertools
import subprocess
import textwrap
import zlib
from pathlib import Path

import regex

TABLE = Path(__file__).parents[1] / "runtimes/python/eetool_runtime/word_break_table.py"
UNICODE = "17.0"  # of the release of regex in constraints.txt
OLDEST_UNICODE = "13.0.0"  # of the `unicodedata` of Python 3.9
CLASSES = {
    "ALetter": "A",
    "Hebrew_Letter": "H",
    "Numeric": "N",
    "Katakana": "K",
    "ExtendNumLet": "U",
    "Single_Quote": "Q",
    "Double_Quote": "D",
    "MidNumLet": "M",
    "MidLetter": "L",
    "MidNum": "C",
    "Regional_Indicator": "R",
    "Extend": "E",
    "ZWJ": "Z",
    "Format": "F",
    "WSegSpace": "W",
    "CR": "S",
    "LF": "S",
    "Newline": "S",
}
OTHER, BLANK, PICTOGRAPH, LETTER_PICTOGRAPH = "O", "T", "P", "B"
ZERO_WIDTH_SPACE = "\u200b"
_ASK = (
    "import sys, unicodedata as u; assert u.unidata_version == sys.argv[1], u.unidata_version; "
    "print(''.join('01'[u.category(chr(c)) != 'Cn'] for c in range(0x110000)))"
)


def oldest_characters(python: str) -> str:
    """Return "1" for every code point that the oldest Python knows, else "0"."""
    done = subprocess.run([python, "-c", _ASK, OLDEST_UNICODE], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def character_classes() -> list[str]:
    """Return the letter of every code point's class, see `eetool_runtime.word_segmentation`."""
    everything = "".join(map(chr, range(0x110000)))
    blank = rf"[\p{{Cc}}\p{{Zs}}{ZERO_WIDTH_SPACE}]"
    letters = [OTHER] * len(everything)
    for pattern, letter in (
        (blank, BLANK),
        *((rf"\p{{Word_Break={name}}}", letter) for name, letter in CLASSES.items()),
    ):
        for run in regex.finditer(f"{pattern}+", everything):
            letters[slice(*run.span())] = letter * len(run[0])
    for pictograph in regex.finditer(r"\p{Extended_Pictographic}", everything):
        code = pictograph.start()
        letters[code] = {OTHER: PICTOGRAPH, CLASSES["ALetter"]: LETTER_PICTOGRAPH}[letters[code]]
    return letters


def packed_table(oldest: str) -> str:
    """Return the runs of equal classes: their letters, a line break, and their lengths; compressed, in base64."""
    letters = zip(character_classes(), oldest, strict=True)
    marked = (letter if known == "1" else letter.lower() for letter, known in letters)
    runs = [(letter, len(list(group))) for letter, group in itertools.groupby(marked)]
    text = "".join(letter for letter, _ in runs) + "\n" + " ".join(f"{length:x}" for _, length in runs)
    return binascii.b2a_base64(zlib.compress(text.encode("ascii"), 9), newline=False).decode("ascii")


def module_text(packed: str) -> str:
    """Return the module with the table."""
    lines = "\n".join(f'    "{line}"' for line in textwrap.wrap(packed, 112))
    return (
        f'"""Classes of all characters of Unicode {UNICODE}, written by tools/write_word_breaks.py."""\n\n'
        "# Lower-case letters: unknown to Unicode 13.0, the oldest that a supported Python has.\n"
        f"PACKED = (\n{lines}\n)\n"
    )


def main() -> None:
    """Write the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--oldest-python", default="python3.9", help="interpreter [python3.9]")
    options = parser.parse_args()
    TABLE.write_text(module_text(packed_table(oldest_characters(options.oldest_python))), encoding="utf-8")


if __name__ == "__main__":
    main()
