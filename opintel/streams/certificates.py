"""Certificates from files, for the connectors and the log."""

from __future__ import annotations

import ssl


def tls_context(ca_file: str | None, cert_file: str | None = None, key_file: str | None = None) -> ssl.SSLContext:
    """What trusts the authorities in `ca_file` (None or '': the system's) and shows our own certificate, if any.

    Raises ValueError, `KEY: …`, for a file that does not hold what it should.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ValueError(f"ca_file: {ca_file} holds no certificates that can be read: {_reason(error)}") from error
    if cert_file:
        try:
            context.load_cert_chain(cert_file, key_file or None)
        except OSError as error:
            raise ValueError(f"cert_file: {cert_file} and its key cannot be used: {_reason(error)}") from error
    return context


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)
