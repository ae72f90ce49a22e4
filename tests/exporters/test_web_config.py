"""The web configuration file: what it may say, how it says no, and that it is read again."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
from pathlib import Path

import bcrypt
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from joulery.errors import SpecError
from joulery.exporters.web_config import WatchedWebConfig, load_web_config

from ..conftest import require_program

HASH = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()

WHOLE = f"""\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: clients.crt
  client_allowed_sans: [prometheus.monitoring.svc, "2001:DB8::1"]
  min_version: TLS12
  max_version: TLS13
  cipher_suites:
    - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    - TLS_AES_128_GCM_SHA256
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP256]
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: default-src 'self'
    Strict-Transport-Security: max-age=31536000
    X-Content-Type-Options: nosniff
    X-Frame-Options: deny
    X-XSS-Protection: 0
basic_auth_users:
  alice: {HASH}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a server's certificate and key, and an authority of clients."""
    write_pair(tmp_path)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "clients.crt"))
    return tmp_path


def write_pair(folder: Path) -> None:
    """Write a new certificate and its key."""
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (folder / "server.crt").write_bytes(chain)


def write(folder: Path, text: str) -> Path:
    """Write the configuration."""
    path = folder / "web.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> SpecError:
    """Return the error that a configuration makes."""
    with pytest.raises(SpecError) as caught:
        load_web_config(write(folder, text))
    return caught.value


def test_whole_file(folder: Path) -> None:
    """Every key that is offered takes effect."""
    config = load_web_config(write(folder, WHOLE))
    assert config.tls is not None
    assert config.tls.verify_mode is ssl.CERT_REQUIRED
    assert config.tls.minimum_version is ssl.TLSVersion.TLSv1_2
    assert config.tls.maximum_version is ssl.TLSVersion.TLSv1_3
    assert not config.tls.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert [cipher["name"] for cipher in config.tls.get_ciphers() if "ECDHE" in cipher["name"]] == [
        "ECDHE-ECDSA-AES128-GCM-SHA256"
    ]
    assert config.tls.cert_store_stats()["x509_ca"] == 1
    assert config.client_sans == {"prometheus.monitoring.svc", "2001:db8::1"}
    assert config.headers["X-XSS-Protection"] == "0"
    assert len(config.headers) == 5
    assert config.users == {"alice": HASH.encode()}


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.replace('  client_allowed_sans: [prometheus.monitoring.svc, "2001:DB8::1"]\n', ""),
        "tls_server_config: {cert_file: server.crt, key_file: server.key}",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
        "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: clients.crt\n"
        "  min_version: TLS13\n  cipher_suites: [TLS_AES_256_GCM_SHA384]\n"
        "  curve_preferences: [X25519]\n",
        f"basic_auth_users: {{bob: '{HASH}'}}\nhttp_server_config: {{http2: false}}",
        "http_server_config: {headers: {Content-Security-Policy: }}",
    ],
)
def test_prometheus_accepts_what_we_accept(folder: Path, text: str) -> None:
    """A configuration that is right for us is right for Prometheus' own check."""
    path = write(folder, text)
    load_web_config(path)
    checked = subprocess.run(
        [require_program("promtool"), "check", "web-config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", None, "an empty file"),
        ("# nothing yet\n", None, "an empty file"),
        ("- a\n", "line 1", "a list"),
        ("a: [", "line 1", "YAML"),
        ("a: &a [*a]\n", "line 1, a", "unknown key"),
        ("tls_config: {}", "line 1, tls_config", "did you mean 'tls_server_config'?"),
        ("rate_limit: {burst: 1}", "line 1, rate_limit", "does not offer"),
        ("tls_server_config:\n", "line 1, tls_server_config", "found nothing"),
        ("tls_server_config: {}", "line 1, tls_server_config", "add 'cert_file:'"),
        (
            "tls_server_config:\n  cert_file: server.crt\n",
            "line 2, tls_server_config",
            "add 'key_file:'",
        ),
        (TLS + "  key_flie: a\n", "line 4, tls_server_config.key_flie", "'key_file'?"),
        (TLS + "  cert_file: b\n", "line 4, tls_server_config.cert_file", "second time"),
        (TLS + "  key: secret\n", "line 4, tls_server_config.key", "'key_file'"),
        (TLS + "  min_version: TLS10\n", "line 4, tls_server_config.min_version", "RFC 8996"),
        (TLS + "  min_version: TLS1.3\n", "line 4, tls_server_config.min_version", "'TLS13'?"),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            "line 4, tls_server_config.min_version",
            "above max_version TLS12",
        ),
        (
            TLS + "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n",
            "line 4, tls_server_config.cipher_suites",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
        ),
        (
            TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            "line 4, tls_server_config.cipher_suites",
            "min_version: TLS13",
        ),
        (
            TLS + "  cipher_suites: []\n",
            "line 4, tls_server_config.cipher_suites",
            "an empty list",
        ),
        (
            TLS + "  curve_preferences: [X25519, CurveP256]\n",
            "line 4, tls_server_config.curve_preferences",
            "cannot order several",
        ),
        (
            TLS + "  prefer_server_cipher_suites: 'yes'\n",
            "line 4, tls_server_config.prefer_server_cipher_suites",
            "true or false",
        ),
        (
            TLS + "  client_auth_type: RequireAnyClientCert\n",
            "line 4, tls_server_config.client_auth_type",
            "verifies each certificate",
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCert\n",
            "line 2, tls_server_config",
            "add 'client_ca_file:'",
        ),
        (
            TLS + "  client_ca_file: clients.crt\n",
            "line 4, tls_server_config.client_ca_file",
            "RequireAndVerifyClientCert",
        ),
        (
            TLS + "  client_allowed_sans: [a]\n",
            "line 4, tls_server_config.client_allowed_sans",
            "NoClientCert",
        ),
        (
            TLS.replace("server.crt", "no.crt"),
            "line 2, tls_server_config.cert_file",
            "relative to the folder",
        ),
        (TLS.replace("server.crt", "web.yaml"), "line 2, tls_server_config.cert_file", "not PEM"),
        (TLS.replace("server.crt", "server.key"), "line 2, tls_server_config.cert_file", "no pair"),
        (
            TLS.replace("server.key", "other.key"),
            "line 3, tls_server_config.key_file",
            "a key of another certificate",
        ),
        (
            TLS.replace("server.key", "encrypted.key"),
            "line 3, tls_server_config.key_file",
            "encrypted",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Option: deny\n",
            "line 3, http_server_config.headers.X-Frame-Option",
            "'X-Frame-Options'?",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: dney}}",
            "line 1, http_server_config.headers.X-Frame-Options",
            "did you mean 'deny'?",
        ),
        (
            'http_server_config: {headers: {Content-Security-Policy: "a\\r\\nSet-Cookie: b"}}',
            "line 1, http_server_config.headers.Content-Security-Policy",
            "on one line",
        ),
        ("basic_auth_users:\n", "line 1, basic_auth_users", "nothing"),
        (
            f"basic_auth_users: {{bob: '{HASH[:4]}31{HASH[6:]}'}}",
            "line 1, basic_auth_users.bob",
            "cost 31",
        ),
    ],
)
def test_what_is_wrong_is_told(folder: Path, text: str, place: str | None, says: str) -> None:
    """A mistake is told with its line and key, and with what would be right."""
    other = trustme.CA().issue_cert("localhost")
    other.private_key_pem.write_to_path(str(folder / "other.key"))
    encrypted = load_pem_private_key(other.private_key_pem.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    (folder / "encrypted.key").write_bytes(encrypted)
    error = refused(folder, text)
    assert error.subject == str(folder / "web.yaml")
    assert error.place == place
    assert says in str(error)


def test_a_secret_is_not_told(folder: Path) -> None:
    """A password that was written in place of its hash does not appear in the error."""
    error = refused(folder, "basic_auth_users:\n  bob: open sesame\n")
    assert "bcrypt" in str(error)
    assert "sesame" not in str(error)
    error = refused(folder, TLS + "  key: sesame\n")
    assert "sesame" not in str(error)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are errors with a subject."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "bytes", "."):
        with pytest.raises(SpecError) as caught:
            load_web_config(tmp_path / name)
        assert caught.value.subject == str(tmp_path / name)


def test_read_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """New content serves from now on; wrong content is told once, and the old stays in use."""
    caplog.set_level(logging.INFO)
    path = write(folder, TLS)
    watched = WatchedWebConfig(path)
    first = watched.current()
    assert watched.current() is first
    write(folder, TLS + "  min_versoin: TLS13\n")
    assert watched.current() is first
    os.utime(path)
    assert watched.current() is first
    [told] = [record.getMessage() for record in caplog.records]
    assert "min_version'?" in told
    assert "stays in use" in told
    write(folder, TLS + "  min_version: TLS13\n")
    second = watched.current().tls
    assert second is not None
    assert second.minimum_version is ssl.TLSVersion.TLSv1_3
    assert "read again" in caplog.records[-1].getMessage()


def test_certificates_are_read_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A rotated pair is taken when it is whole, also after a half or a missing one was met."""
    watched = WatchedWebConfig(write(folder, TLS))
    first = watched.current()
    key, certificate = folder / "server.key", folder / "server.crt"
    old_key = key.read_bytes()
    write_pair(folder)
    new_key = key.read_bytes()
    key.write_bytes(old_key)
    assert watched.current() is first
    assert "another certificate" in caplog.text
    key.write_bytes(new_key)
    second = watched.current()
    assert second is not first
    kept = certificate.read_bytes()
    certificate.unlink()
    assert watched.current() is second
    certificate.write_bytes(kept)
    assert watched.current() is not second


def test_mounted_secret_is_swapped(folder: Path) -> None:
    """A folder that is exchanged by a symbolic link, as the kubelet does, is noticed."""
    for name in ("one", "two"):
        (folder / name).mkdir()
        write_pair(folder / name)
    (folder / "data").symlink_to("one")
    watched = WatchedWebConfig(
        write(folder, "tls_server_config: {cert_file: data/server.crt, key_file: data/server.key}")
    )
    first = watched.current()
    (folder / "next").symlink_to("two")
    (folder / "next").rename(folder / "data")
    assert watched.current() is not first


def test_no_file() -> None:
    """Without a file there is neither TLS nor a password."""
    config = WatchedWebConfig(None).current()
    assert (config.tls, dict(config.users), dict(config.headers)) == (None, {}, {})
