"""TLS of OpenFlow connections: contexts from key, certificate and CA; both sides show certificates."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


class TlsError(ValueError):
    """TLS cannot be set up; one line that says which file."""


@dataclass(frozen=True, slots=True)
class SslConfig:
    """Paths of PEM files. Column bootstrap_ca_cert is not supported: it trusts whoever answers first."""

    private_key: str
    certificate: str
    ca_cert: str


def tls_context(config: SslConfig | None, *, server: bool) -> ssl.SSLContext:
    """Make a context that demands a certificate signed by the CA, of clients too; TlsError."""
    if config is None:
        raise TlsError("SSL is not configured: use vsctl set-ssl KEY CERTIFICATE CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = (
        False  # controllers are named by address; the CA is the operator's own (ovs-vswitchd(8))
    )
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(config.ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{config.ca_cert}: cannot use the CA certificate ({_why(error)})") from None
    try:
        context.load_cert_chain(config.certificate, config.private_key)
    except (OSError, ssl.SSLError) as error:
        files = f"{config.certificate}, {config.private_key}"
        raise TlsError(f"{files}: cannot use the certificate and key ({_why(error)})") from None
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "no PEM file"
    return error.strerror or str(error)
