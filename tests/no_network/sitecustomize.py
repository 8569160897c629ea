"""Forbids this process every address but its own machine's; Python imports it at its start where it finds it.

Modules that HIDDEN_MODULES names are as if they were not installed.

Each attempt is noted in the file that NETWORK_ATTEMPTS names, so that it is seen also where the error is swallowed.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys


def _is_own(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not host or host in ("localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
        # The unspecified address is all of this machine's own, to listen at.
        return address.is_loopback or address.is_unspecified
    except ValueError:
        return False


def _forbid(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_own(host):
        with open(os.environ["NETWORK_ATTEMPTS"], "a", encoding="utf-8") as file:
            file.write(f"{sys.argv[:1]} {event} {host!r}\n")
        raise PermissionError(f"no network is used, but {event} was called with {host!r}")


for _name in os.environ.get("HIDDEN_MODULES", "").split():
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
if "NETWORK_ATTEMPTS" in os.environ:
    sys.addaudithook(_forbid)
