"""Certificates for tests, made by the program openssl: an authority, servers and clients."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Tls(NamedTuple):
    """Files of a server.

    Attributes:
        certificate: of the server.
        key: of the server.
        client_authority: that certificates of clients must come from; None where no client needs one.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None


class Authority:
    """A certificate authority in a folder; it signs certificates by name."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("the program openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.certificate, self._key = folder, folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_new_key(self._key), "-out", self.certificate, "-days", 2, "-subj", f"/CN={name}")

    def sign(self, host: str, days: int = 2) -> tuple[Path, Path]:
        """Return the files of a certificate and its key for `host`; negative days give one that has expired."""
        stem = self._folder / f"{host}{days}"
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        _openssl("req", *_new_key(key), "-out", request, "-subj", f"/CN={host}")
        kind = "IP" if host.replace(".", "").isdigit() else "DNS"
        extensions.write_text(f"subjectAltName={kind}:{host}\n")
        signed = ["-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions]
        if days > 0:
            _openssl("x509", "-req", "-in", request, "-out", certificate, *signed, "-days", days)
        else:
            _expired(self._folder, request, certificate, self.certificate, self._key, extensions)
        return certificate, key


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the settings of a server's socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.client_authority is not None:
        context.load_verify_locations(tls.client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _new_key(path: Path) -> list[object]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


def _expired(folder: Path, request: Path, certificate: Path, authority: Path, key: Path, extensions: Path) -> None:
    """Sign with dates of the past, which only the command `ca` of older releases of openssl can."""
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    settings = folder / "ca.cnf"
    settings.write_text(
        "[ca]\ndefault_ca=own\n[own]\npolicy=any\ndefault_md=sha256\n"
        f"database={folder}/index.txt\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        "[any]\ncommonName=supplied\n"
    )
    dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    signer = ["-cert", authority, "-keyfile", key, "-extfile", extensions]
    _openssl("ca", "-batch", "-config", settings, "-in", request, "-out", certificate, "-notext", *signer, *dates)


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
