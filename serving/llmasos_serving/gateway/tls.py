"""Certificates of the gateway."""

from __future__ import annotations

import ssl
from pathlib import Path

from llmasos.errors import ServerError


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Raises ServerError for files that no server could use."""
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        if path is None or not path.is_file():
            raise ServerError(f"{name} {path} is no file")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise ServerError(
            f"tls_certificate {certificate} and tls_key {key} cannot be used: {error}"
        ) from error


def unchecked() -> ssl.SSLContext:
    """For a probe of a process of ours on this machine, whatever name its certificate has."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
