"""Servers that end together."""
import re

from .server import Tactus


class Servers:
    """Starts servers in one temporary directory and ends them all."""

    def __init__(self, directory):
        self.directory = directory
        self.started = []

    def new(self, name="tactus", **kwargs):
        server = Tactus(self.directory / name, **kwargs)
        self.started.append(server)
        return server

    def start(self, name="tactus", **kwargs):
        return self.new(name, **kwargs).start()

    def close(self):
        for server in self.started:
            server.close()
        for server in self.started:
            panics = re.findall(r"^.*panicked at.*$", server.logs(), re.MULTILINE)
            assert not panics, f"a server panicked: {panics[:3]}"
