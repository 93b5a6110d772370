"""A member of the cluster that tells of members that do not exist, as one that knows the secret can: however many, the process goes on."""
import contextlib
import json
import os
import pathlib
import socket
import struct
import threading
import time

import pytest

from harness.honest import Honest
from harness.ports import free_ports
from test_hostile_tenants import SLOWEST_MEDIAN
from test_memory import PEAK

SECONDS = float(os.environ.get("TACTUS_GOSSIP_SECONDS", 4))
SYN, ACK = 0, 2
MEMBERS = 10_000
CLAIMS_EACH = 40
# Of one core, once the member is silent: what it said is still known then.
MOST_CORES_AFTERWARDS = 0.6


def text(value):
    encoded = value.encode()
    return struct.pack("<H", len(encoded)) + encoded


def member_id(number):
    return text(f"m{number:05}") + struct.pack("<Q", 1) + b"\x04\x7f\0\0\1" + struct.pack("<H", 9)


def message(kind, body):
    whole = b"\x53\xb0\0" + bytes([kind]) + body
    return struct.pack(">I", len(whole)) + whole


def there_are(numbers, heartbeat):
    known = b"".join(member_id(number) + struct.pack("<QQQ", heartbeat, 0, 0) for number in numbers)
    return message(SYN, struct.pack("<H", len(numbers)) + known + text("tactus"))


def value(key, content, version):
    return b"\x01" + text(key) + text(json.dumps(content)) + struct.pack("<QB", version, 0)


def says(number, version, claims, tombstones):
    """What a member is said to say: that it left, or is there, claims of a ring, and that others are void."""
    left = number % 3 == 0
    member = {"targets": ["ingester"], "http": "h:1", "grpc": "h:2", "zone": "", "version": "1", "left": left}
    values = [("member", member)]
    for claim in range(claims):
        name = f"i{number}-{claim}"
        values.append((f"claim/collectors/ring/{name}", {
            "ring": "collectors/ring", "id": name, "incarnation": version, "address": "h:3", "state": "LEFT",
            "tokens": {"seed": {"seed": claim, "count": 128}}, "registered": 5}))
    for tombstone in range(tombstones):
        name = f"i{number}-{version}-{tombstone}"
        values.append((f"forget/collectors/ring/{name}", {"ring": "collectors/ring", "id": name, "incarnation": 1}))
    steps = b"\0" + member_id(number) + bytes(16)
    for place, (key, content) in enumerate(values):
        steps += value(key, content, version + place)
    steps += b"\x02" + struct.pack("<Q", version + len(values))
    blocks = b"".join(b"\x02" + struct.pack("<H", len(part)) + part for part in (steps[at:at + 60_000] for at in range(0, len(steps), 60_000)))
    return message(ACK, blocks + b"\0")


class Liar:
    """Tells of these members again and again, each time with newer heartbeats and news."""

    def __init__(self, port, numbers, claims, tombstones):
        self.port, self.numbers, self.claims, self.tombstones = port, numbers, claims, tombstones
        self.over, self.taken, self.refused = threading.Event(), 0, 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        own = b"127.0.0.1:9"
        connection.sendall(b"TACTUSg\x01\0\0" + bytes([len(own)]) + own)
        status = b""
        while len(status) < 9:
            status += connection.recv(9 - len(status)) or pytest.fail("the member hung up")
        assert status[8] == 0, status
        return connection

    def tell(self, connection, said):
        """The connection, or a new one if it was closed instead of a receipt."""
        with contextlib.suppress(OSError):
            connection.sendall(said)
            if connection.recv(1):
                self.taken += 1
                return connection
        self.refused += 1
        connection.close()
        return self.connect()

    def run(self):
        connection, step = self.connect(), 0
        while not self.over.is_set():
            step += 1
            for at in range(0, len(self.numbers), 200):
                connection = self.tell(connection, there_are(self.numbers[at:at + 200], step))
            for number in self.numbers:
                if self.over.is_set():
                    break
                connection = self.tell(connection, says(number, 1000 * step, self.claims, self.tombstones))
        connection.close()


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(("members", "claims", "tombstones"), [(MEMBERS, 0, 0), (1_000, CLAIMS_EACH, 0), (1_000, 5, CLAIMS_EACH)],
                         ids=["members", "claims", "tombstones"])
def test_member_that_tells_of_thousands(servers, members, claims, tombstones):
    port, = free_ports(1)
    ring = {"kvstore": {"store": "memberlist"}}
    server = servers.start(config={
        "multitenancy_enabled": True,
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": port, "advertise_addr": "127.0.0.1", "gossip_interval": "200ms", "leave_timeout": "1s"},
        "ingester": {"lifecycler": {"ring": {**ring, "replication_factor": 1}, "address": "127.0.0.1", "min_ready_duration": "0s"}},
        "distributor": {"ring": ring},
    })
    with Honest(server, 500) as honest:
        server.forget_peak()
        with Liar(port, range(members), claims, tombstones) as liar:
            time.sleep(SECONDS / 2)
            before = processor_seconds(server.pid)
            time.sleep(SECONDS)
            cores = (processor_seconds(server.pid) - before) / SECONDS
            known = server.metric("tempo_memberlist_client_cluster_members_count")
        time.sleep(2)
        before = processor_seconds(server.pid)
        time.sleep(SECONDS / 2)
        after = (processor_seconds(server.pid) - before) / (SECONDS / 2)
    peak = server.peak_resident_bytes()
    print(f"{liar.taken} messages taken, {liar.refused} refused, {known:.0f} members; {cores:.2f} cores, then {after:.2f}; "
          f"peak {peak >> 20} MiB; {honest.figures()}")
    honest.lost_nothing()
    assert known < 1_500 and (members < 2_000 or known > 500), known
    assert peak < PEAK, f"{peak >> 20} MiB"
    assert after < MOST_CORES_AFTERWARDS, after
    if members > 2_000:
        assert "no room for more members" in server.logs()
    assert sorted(honest.seconds)[len(honest.seconds) // 2] < SLOWEST_MEDIAN
