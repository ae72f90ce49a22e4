"""Where a server listens: reading `ADDRESS:PORT`, and getting its sockets or saying why not."""

from __future__ import annotations

import errno
import os
import re
import socket

from ..errors import JouleryError, SpecError

__all__ = ["bind", "parse_listen", "url_of"]

_LISTEN = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]/\s]*)):(?P<port>[0-9]{1,5})", re.A)
_ALL = ("", "::")
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_FORM = "ADDRESS:PORT, [ADDRESS]:PORT or :PORT"


def parse_listen(text: str, option: str = "--listen") -> tuple[str, int]:
    """Return the address, empty for all, and the port.

    Args:
        text: One of the forms.
        option: What the command calls it, for errors.

    Raises:
        SpecError: When it is not in one of the forms, or the port is beyond 65535.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise SpecError(
            option,
            found=repr(text),
            expected=f"{_FORM}, with a port from 0 to 65535",
            remedy=_advice(text),
        )
    return match["six"] or match["host"] or "", int(match["port"])


def _advice(text: str) -> str | None:
    if text.isascii() and text.isdigit():
        return f"write ':{text}' for all addresses"
    if "://" in text:
        return "leave the scheme and the path away"
    if text.count(":") > 1 and "[" not in text:
        return "an IPv6 address stands in brackets: '[::1]:28480'"
    return None


def bind(listen: str, option: str = "--listen") -> list[socket.socket]:
    """Return listening sockets, one for each address that the text names.

    Args:
        listen: See `parse_listen`.
        option: Likewise.

    Raises:
        SpecError: When the text is wrong, or names no address of this machine.
        JouleryError: When the address is taken, or may not be had.
    """
    address, port = parse_listen(listen, option)
    sockets: list[socket.socket] = []
    try:
        if address in _ALL:
            sockets.append(_bind_all(port))
        else:
            found = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, place in found:
                # A name with several addresses has the same port on each, also when any will do.
                wanted = port or (sockets[0].getsockname()[1] if sockets else 0)
                sockets.append(socket.create_server((str(place[0]), wanted), family=family))
        for each in sockets:
            each.setblocking(False)
    except OSError as error:
        for each in sockets:
            each.close()
        raise _explain(option, listen, address, port, error) from None
    return sockets


def _bind_all(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            # Support for it is compiled in, and switched off on this node.
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("", port))


def _explain(option: str, listen: str, address: str, port: int, error: OSError) -> JouleryError:
    if isinstance(error, socket.gaierror):
        return SpecError(
            option,
            found=f"'{address}': {error.strerror}",
            expected="an address of this machine",
            remedy=f"':{port}' listens on all",
        )
    if error.errno in _NO_IPV6:
        return SpecError(
            option,
            found=f"'{address}', which this machine does not have",
            expected="an address of this machine",
            remedy=f"':{port}' listens on all",
        )
    if error.errno == errno.EADDRINUSE:
        return JouleryError(
            f"{option} {listen}",
            found=f"port {port} taken by another program",
            expected="a free port",
            remedy=f"`ss -ltnp 'sport = :{port}'` shows which; or choose another port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return JouleryError(
            f"{option} {listen}",
            found=f"port {port} forbidden",
            remedy="ports below 1024 need root, or the capability NET_BIND_SERVICE",
        )
    return JouleryError(f"{option} {listen}", found=os.strerror(error.errno or 0))


def url_of(listen: str, bound: socket.socket, *, tls: bool) -> str:
    """Return where a client on this machine finds the server; no slash at its end."""
    address, _ = parse_listen(listen)
    host = "localhost" if address in (*_ALL, "0.0.0.0") else address
    if ":" in host:
        host = f"[{host}]"
    return f"{'https' if tls else 'http'}://{host}:{bound.getsockname()[1]}"
