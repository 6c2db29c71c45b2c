"""Which ports a stack takes, and whether they are free."""

from __future__ import annotations

import random
import socket

from services.mesh import DAEMONS, GATEWAY_OFFSET, MESHD_OFFSET
from services.runtime.errors import Unavailable

OFFSETS = (GATEWAY_OFFSET, MESHD_OFFSET, *(daemon.offset for daemon in DAEMONS))
FIRST, LAST = 12_000, 28_000
"""Below the range from which the system takes ports for outgoing connections."""
ATTEMPTS = 200


class NoFreePorts(Unavailable):
    """No port base was found all of whose ports are free."""

    reason = "NO_FREE_PORTS"


def is_free(host: str, port: int) -> bool:
    """Whether this process could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port_base(host: str = "127.0.0.1") -> int:
    """A port base all of whose ports are free now; random, so that two who ask at once rarely meet."""
    for _ in range(ATTEMPTS):
        base = random.randrange(FIRST, LAST)
        if all(is_free(host, base + offset) for offset in OFFSETS):
            return base
    raise NoFreePorts(f"found no free ports between {FIRST} and {LAST}; give --port-base")
