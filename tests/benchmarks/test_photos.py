"""`benchmarks/photos.py`: the split of photographs, and the network of the published weights."""

import io
import tarfile
from pathlib import Path

import torch

from tests.helpers.scripts import load_script

CLASSES = ("glass", "paper")


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    """Write a tar of files."""
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_unpack_photograph_keeps_its_split_in_another_archive(tmp_path: Path) -> None:
    script = load_script("benchmarks/photos.py")
    contents = {f"photos/{name}/{i}.jpg": f"{name} {i}".encode() for name in CLASSES for i in range(60)}
    script.unpack(write_archive(tmp_path / "all.tar", {**contents, "photos/readme.txt": b""}), tmp_path / "all", None)
    fewer = dict(list(contents.items())[::3])
    script.unpack(write_archive(tmp_path / "fewer.tar", fewer), tmp_path / "fewer", None)
    everything, part = (
        {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.jpg")} for name in ("all", "fewer")
    )
    assert len(everything) == len(contents)
    assert len(part) == len(fewer)
    assert part < everything
    assert {path.parts[0] for path in everything} == {"train", "val", "test"}
    for path in everything:
        assert path.parts[0] == script.split_of((tmp_path / "all" / path).read_bytes())


def test_unpack_limit_is_of_each_class(tmp_path: Path) -> None:
    script = load_script("benchmarks/photos.py")
    contents = {f"{name}/{i}.png": f"{name} {i}".encode() for name in CLASSES for i in range(9)}
    script.unpack(write_archive(tmp_path / "a.tar", contents), tmp_path / "a", 4)
    assert sorted(path.parent.name for path in (tmp_path / "a").rglob("*.png")) == ["glass"] * 4 + ["paper"] * 4


def test_efficientnet_lite0_has_the_published_sizes() -> None:
    net = load_script("benchmarks/efficientnet_lite0.py").EfficientNetLite0(1000).eval()
    assert sum(tensor.numel() for tensor in net.parameters()) == 4_652_008  # as published: 4.7 M
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 32, 64)).shape == (1, 1000)
        assert net.stem(torch.zeros(1, 3, 32, 64)).shape == (1, 32, 16, 32)
