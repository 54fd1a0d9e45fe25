"""Where a page of this machine is served."""

from __future__ import annotations

import socket

from pmd_jax.runtime.errors import InputError


def address_of(host: str, port: int) -> str:
    """For a browser, which wants brackets around an address of IPv6."""
    return f"http://[{host.strip('[]')}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address of IPv4 or IPv6 (with brackets or without), or at a name, of whose addresses IPv4 first.

    Raises:
        InputError: nobody can listen there.
    """
    try:
        known = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(known, key=lambda found: found[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"--host={host} --port={port}: cannot listen there ({error}); choose another.") from None
