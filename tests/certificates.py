"""Certificates for servers and clients on loopback, made with ``openssl``."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate, self.key = directory / "ca.pem", directory / "ca.key"
        self._make("ca", "-x509", "-days", "2")

    def _make(self, name: str, *options: str) -> None:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        suffix = "pem" if "-x509" in options else "csr"
        openssl(
            *("req", *curve, "-subj", f"/CN={name}", *options),
            *("-keyout", self.directory / f"{name}.key", "-out", self.directory / f"{name}.{suffix}"),
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return a certificate for loopback addresses, and its key."""
        self._make(name)
        extensions = self.directory / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
        certificate = self.directory / f"{name}.pem"
        openssl(
            *("x509", "-req", "-days", "2", "-in", self.directory / f"{name}.csr", "-extfile", extensions),
            *("-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-out", certificate),
        )
        return certificate, self.directory / f"{name}.key"
