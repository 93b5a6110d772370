"""Machines of a network: each has an address of its own on a bridge, and links between any two can be cut.

Needs root, or a user namespace (`unshare -Urn` before the tests). A cut drops packets without a word, as a
network does: nobody gets a reset, connections stall until something times out."""
import itertools
import os
import subprocess
import time

import pytest

from .program import end_with_parent


def ip(*words, inside=None):
    """Runs `ip`, in the network namespace of process `inside` if one is given."""
    command = [*(["nsenter", "-t", str(inside), "-n"] if inside else []), "ip", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)


class Host:
    """One machine: a network namespace that lives as long as a process that does nothing."""

    def __init__(self, network, number):
        self.address = f"{network.prefix}.{number}"
        self.holder = subprocess.Popen(
            ["unshare", "-n", "sleep", "infinity"], stdin=subprocess.DEVNULL, preexec_fn=end_with_parent)
        self.pid = self.holder.pid
        outside, inside = f"{network.name}-{number}", f"{network.name}i{number}"
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.pid}/ns/net") == ours:  # until unshare has done its work
            time.sleep(0.005)
        ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        ip("link", "set", inside, "netns", self.pid)
        ip("link", "set", outside, "master", network.name, "up")
        ip("link", "set", inside, "name", "eth0", inside=self.pid)
        ip("link", "set", "lo", "up", inside=self.pid)
        ip("addr", "add", f"{self.address}/24", "dev", "eth0", inside=self.pid)
        ip("link", "set", "eth0", "up", inside=self.pid)

    @property
    def prefix(self):
        """What stands before a command that is to run on this machine."""
        return ["nsenter", "-t", str(self.pid), "-n", "--"]

    def lose(self, other):
        """Packets from here to `other` are lost."""
        ip("neigh", "replace", other.address, "lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent",
           inside=self.pid)

    def reach(self, other):
        ip("neigh", "del", other.address, "dev", "eth0", inside=self.pid)


class Network:
    """A bridge with machines; the tests' own process is on it with the address `gateway`."""

    numbers = itertools.count(1)

    def __init__(self):
        number = next(self.numbers)
        self.name = f"t{os.getpid() % 100_000}n{number}"
        self.prefix = f"10.{200 + number % 50}.{os.getpid() % 250}"
        self.gateway = f"{self.prefix}.1"
        self.hosts, self.cuts = [], set()

    def __enter__(self):
        try:
            ip("link", "add", self.name, "type", "bridge")
            ip("addr", "add", f"{self.gateway}/24", "dev", self.name)
            ip("link", "set", self.name, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a network of its own needs root or `unshare -Urn`: {getattr(error, 'stderr', error)}")
        return self

    def __exit__(self, *_):
        for host in self.hosts:
            host.holder.kill()
            host.holder.wait(10)
        ip("link", "del", self.name)

    def host(self):
        host = Host(self, len(self.hosts) + 2)
        self.hosts.append(host)
        return host

    def cut(self, one, others):
        """Nothing goes between `one` and `others` any more, in either direction."""
        for other in others:
            for pair in ((one, other), (other, one)):
                if pair not in self.cuts:
                    pair[0].lose(pair[1])
                    self.cuts.add(pair)

    def heal(self):
        for one, other in self.cuts:
            one.reach(other)
        self.cuts.clear()
