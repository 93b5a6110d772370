"""Free loopback ports."""
import collections
import os
import random
import socket

# Below the range from which the kernel takes the ports of outgoing connections, so that none is taken
# between the look here and the bind of the server.
RANGE = range(20_000, 32_000)
# Several processes run tests at once: each takes ports that are its own.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_OWN = RANGE[_WORKER :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
# Given last: their servers may not have bound them yet, or be about to start again. Later they are given once more: the more
# processes share the range, the sooner a long run has had all of one's own.
_given = collections.deque(maxlen=len(_OWN) // 2)


def free_ports(count, kind=socket.SOCK_STREAM):
    """Distinct free TCP (or UDP: socket.SOCK_DGRAM) ports that this process has not handed out lately."""
    ports = []
    while len(ports) < count:
        port = random.choice(_OWN)
        if port in _given:
            continue
        with socket.socket(type=kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        ports.append(port)
    return ports
