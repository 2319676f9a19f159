"""A report of the shared bundle, made once by the commands a user would type."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Reported:
    """The documents, the page that was made of them, its figures as files, and what the command said."""

    bench: Path
    profile: Path
    predicted: Path
    bundle: Path
    page: Path
    figures: Path
    document: dict[str, Any]

    @property
    def documents(self) -> tuple[Path, ...]:
        return self.bench, self.profile, self.predicted, self.bundle


@pytest.fixture(scope="session")
def reported(cli: Callable[..., Any], bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    folder = tmp_path_factory.mktemp("report")
    bench, profile, predicted = (folder / f"{name}.json" for name in ("bench", "profile", "rpi4"))
    quick = ("--min-seconds", 0)
    commands: list[tuple[object, ...]] = [
        ("bench", bundle, "--data", "digits", "--against", bundle, "--passes", 1, *quick, "-o", bench),
        ("profile", bundle, "--threads", 1, "--runs", 20, *quick, "--watts", 3, "--accept-unstable", "-o", profile),
        ("profile", bundle, "--device", "rpi4", "-o", predicted),
    ]
    for command in commands:
        answered = cli(*command)
        assert answered.code == 0, answered
    page, figures = folder / "report.html", folder / "figures"
    documents = (bench, profile, predicted, bundle)
    answered = cli("report", *documents, "--data", "digits", "-o", page, "--figures", figures, "--json")
    assert answered.code == 0, answered
    return Reported(*documents, page, figures, answered.document)
