"""TLS of our servers, from the `tls_server_config` of a web configuration file.

Names are those of the exporter toolkit, which are Go's. Python's ssl has OpenSSL's names, always
verifies a certificate that it asks for, and knows one curve at a time: the rest is refused.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SpecError
from .web_file import Files, Section

__all__ = ["TLS_KEYS", "TLS_REFUSED", "client_names", "read_tls"]

TLS_KEYS = (
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)
"""The keys of `tls_server_config`."""

TLS_REFUSED = {
    "cert": "write it to a file, and name that under 'cert_file'",
    "key": "write it to a file, and name that under 'key_file'",
    "client_ca": "write it to a file, and name that under 'client_ca_file'",
}
"""Keys that the toolkit has, and Python's ssl has no use for, with what to do instead."""

_NO_CLIENT, _IF_GIVEN, _REQUIRED = (
    "NoClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)
_VERIFY = {
    _NO_CLIENT: ssl.CERT_NONE,
    _IF_GIVEN: ssl.CERT_OPTIONAL,
    _REQUIRED: ssl.CERT_REQUIRED,
}
_UNVERIFIED = {"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"}

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = {"TLS10", "TLS11"}

_CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{name}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for name, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
}
_CIPHERS_13 = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
"""Always on with TLS 1.3, here as in Go, where a list cannot choose among them either."""

_CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

_RELATIVE = "a path is relative to the folder of this configuration"


def read_tls(section: Section, config: Path, files: Files) -> tuple[ssl.SSLContext, frozenset[str]]:
    """Make the context for new connections, and the names of which a client must have one.

    Args:
        section: The `tls_server_config`.
        config: The configuration's own file, from whose folder paths go.
        files: Where the certificates that were read are noted.

    Raises:
        SpecError: When the section is wrong, or a certificate is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _set_versions(section, context)
    _set_ciphers(section, context)
    _load_chain(section, context, config.parent, files)
    sans = _set_clients(section, context, config.parent, files)
    return context, sans


def client_names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the alternative names in a certificate as ssl gives it: DNS, IP, e-mail and URI."""
    names: set[str] = set()
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "IP Address":
            names.add(_plain_address(value))
        elif kind in ("DNS", "email", "URI"):
            names.add(value)
    return frozenset(names)


def _plain_address(text: str) -> str:
    """Return an IP address in its short form, and any other name as it is."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return text


def _set_versions(section: Section, context: ssl.SSLContext) -> None:
    versions = {"min_version": "TLS12", "max_version": "TLS13"}
    for key in versions:
        if key in section.values:
            if section.text(key) in _OLD_VERSIONS:
                raise section.wrong(
                    key,
                    found=section.text(key),
                    expected="one of " + ", ".join(_VERSIONS),
                    remedy="RFC 8996 forbids the older ones, and OpenSSL no longer has them on",
                )
            versions[key] = section.choice(key, tuple(_VERSIONS))
    if versions["min_version"] > versions["max_version"]:
        raise section.wrong(
            "min_version",
            found=f"{versions['min_version']}, above max_version {versions['max_version']}",
            expected="a version that is not above max_version",
        )
    context.minimum_version = _VERSIONS[versions["min_version"]]
    context.maximum_version = _VERSIONS[versions["max_version"]]


def _set_ciphers(section: Section, context: ssl.SSLContext) -> None:
    if not section.flag("prefer_server_cipher_suites", default=True):
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    suites = section.texts("cipher_suites")
    known = (*_CIPHERS, *sorted(_CIPHERS_13))
    for name in suites:
        if name not in known:
            raise section.wrong(
                "cipher_suites", found=repr(name), expected="of " + ", ".join(known)
            )
    older = [_CIPHERS[name] for name in suites if name in _CIPHERS]
    if older:
        context.set_ciphers(":".join(older))
    elif suites and context.minimum_version < ssl.TLSVersion.TLSv1_3:
        raise section.wrong(
            "cipher_suites",
            found="only suites of TLS 1.3, which are always on",
            expected="a suite of TLS 1.2 too",
            remedy="to allow TLS 1.3 alone, write 'min_version: TLS13'",
        )
    curves = section.texts("curve_preferences")
    for name in curves:
        if name not in _CURVES:
            raise section.wrong(
                "curve_preferences", found=repr(name), expected="one of " + ", ".join(_CURVES)
            )
    if len(curves) > 1:
        raise section.wrong(
            "curve_preferences",
            found=f"{len(curves)} curves",
            expected="one: Python's ssl cannot order several",
            remedy="name one, or remove the key for OpenSSL's own order",
        )
    if curves:
        context.set_ecdh_curve(_CURVES[curves[0]])


def _read_pem(section: Section, key: str, folder: Path, files: Files, what: str) -> Path:
    """Return the path under a key, once what is there was read and has the form of PEM."""
    name = section.text(key)
    path = folder / name
    try:
        content = files.read(path)
    except OSError as error:
        raise section.wrong(
            key,
            found=f"'{name}', {error.strerror}",
            expected=f"a readable file with {what} in PEM",
            remedy=_RELATIVE,
        ) from None
    if b"-----BEGIN " not in content:
        raise section.wrong(key, found=f"'{name}', which is not PEM", expected=f"{what} in PEM")
    return path


def _load_chain(section: Section, context: ssl.SSLContext, folder: Path, files: Files) -> None:
    chain = _read_pem(section, "cert_file", folder, files, "a certificate and its chain")
    key = _read_pem(section, "key_file", folder, files, "a private key")

    def no_password() -> str:
        # OpenSSL would ask on the terminal.
        raise section.wrong(
            "key_file",
            found="a key that is encrypted",
            expected="a key without password",
            remedy="`openssl pkey -in OLD -out NEW` takes the password away",
        )

    try:
        context.load_cert_chain(chain, key, no_password)
    except SpecError:
        raise
    except (OSError, ValueError) as error:
        mismatch = getattr(error, "reason", None) == "KEY_VALUES_MISMATCH"
        raise section.wrong(
            "key_file" if mismatch else "cert_file",
            found="a key of another certificate" if mismatch else f"no pair ({_reason(error)})",
            expected="a certificate with its chain, and the private key that belongs to it",
        ) from None


def _set_clients(
    section: Section, context: ssl.SSLContext, folder: Path, files: Files
) -> frozenset[str]:
    kind = _NO_CLIENT
    if "client_auth_type" in section.values:
        if section.text("client_auth_type") in _UNVERIFIED:
            raise section.wrong(
                "client_auth_type",
                found=section.text("client_auth_type"),
                expected="one of " + ", ".join(_VERIFY),
                remedy="Python's ssl verifies each certificate that it asks for",
            )
        kind = section.choice("client_auth_type", tuple(_VERIFY))
    if kind != _NO_CLIENT:
        path = _read_pem(section, "client_ca_file", folder, files, "the clients' authority")
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise section.wrong(
                "client_ca_file", found=_reason(error), expected="certificates in PEM"
            ) from None
    elif "client_ca_file" in section.values:
        raise section.wrong(
            "client_ca_file",
            found="an authority of clients that nothing is asked of",
            expected="a client_auth_type with it",
            remedy=f"add 'client_auth_type: {_REQUIRED}'",
        )
    context.verify_mode = _VERIFY[kind]
    sans = frozenset(map(_plain_address, section.texts("client_allowed_sans")))
    if sans and kind != _REQUIRED:
        raise section.wrong(
            "client_allowed_sans",
            found=f"names that clients must have, and client_auth_type {kind}",
            expected=f"client_auth_type {_REQUIRED}",
            remedy="a client without certificate has no name",
        )
    return sans


def _reason(error: Exception) -> str:
    """Return what OpenSSL says, in words."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else "not what it should be"
