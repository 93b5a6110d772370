"""A reader of /ui/api/tail."""
import json
import threading
import time

import requests

from .waiting import eventually


class LiveTail:
    """An open live tail, read by a thread of its own. `spans` are (seconds of the clock when it was read, span)."""

    def __init__(self, server, q="", headers=None, **params):
        self.response = requests.get(server.url + "/ui/api/tail", params={"q": q, **params}, headers=headers or {},
                                     stream=True, timeout=60)
        self.spans, self.counts, self.end = [], {}, None
        assert self.response.status_code == 200, self.response.text
        assert self.response.headers["content-type"] == "text/event-stream"
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        name = None
        try:
            for line in self.response.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self._take(name, json.loads(line[6:]))
        except (requests.RequestException, AttributeError, ValueError):
            # The test closed it, or the server was killed.
            pass
        if self.end is None:
            self.end = ("broken", None)

    def _take(self, name, data):
        if name != "spans":
            self.end = (name, data["message"])
            return
        now = time.time()
        self.spans.extend((now, span) for span in data.pop("spans"))
        self.counts = data

    def await_open(self, ingesters=1):
        eventually(lambda: self.counts.get("ingesters") == ingesters, f"{ingesters} ingesters are followed")
        return self

    def names(self):
        return [span["name"] for _, span in self.spans]

    def close(self):
        self.response.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
