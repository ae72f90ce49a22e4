"""IP addresses in one spelling, so that the one a service has equals the one that it sends from."""

from __future__ import annotations

import ipaddress

__all__ = ["address", "host_of", "is_of_a_pod"]


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        # Whatever follows a % is the name of an interface, and may be any text.
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def address(text: str) -> str:
    """Return an IP address as it is written here; empty if this is none.

    Sockets for both versions of IP show `::ffff:192.0.2.1` where it is 192.0.2.1.
    """
    found = _parsed(text)
    return "" if found is None else str(found)


def is_of_a_pod(text: str) -> bool:
    """Return whether this can be a pod's address; the machine's own and special ones cannot."""
    found = _parsed(text)
    return found is not None and not (
        found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified
    )


def host_of(text: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{text}]" if ":" in text else text
