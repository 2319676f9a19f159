"""Parsing of `manifest.json`: bytes to a checked `Manifest`."""

from __future__ import annotations

import re

from .errors import BundleError
from .manifest import MAX_MANIFEST_BYTES, NEWEST_VERSION, SCHEMA_VERSION, Manifest
from .manifest_checks import check_manifest, refusal
from .records import decode, parse_json

_VERSION = re.compile(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")


def parse_manifest(data: bytes) -> Manifest:
    """Parse and check the bytes of `manifest.json`.

    Raises:
        BundleError: the bytes are not JSON of this schema, have another major version, or break a rule.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise refusal(f"{len(data)} bytes; at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refusal(f"it is not UTF-8: {error}") from None
    value = parse_json(text, refusal)
    newer_minor = _is_newer_minor(value)
    manifest = decode(Manifest, value, refusal, ignore_unknown=newer_minor)
    check_manifest(manifest)
    return manifest


def _is_newer_minor(value: object) -> bool:
    """Return whether the document has a newer minor version, whose unknown fields are ignored."""
    version = value.get("schema_version") if isinstance(value, dict) else None
    parts = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if parts is None:
        known = f"{SCHEMA_VERSION!r} or {NEWEST_VERSION!r}"
        raise refusal(f"schema_version: expected {known}, found {version!r}")
    major, minor = (int(part) for part in NEWEST_VERSION.split("."))
    if int(parts[1]) != major:
        raise BundleError(
            f"manifest.json: schema_version {version} cannot be read by this runtime, which reads {major}.x",
            "Install the matching eetool-runtime, or export the bundle again with this version.",
        )
    return int(parts[2]) > minor
