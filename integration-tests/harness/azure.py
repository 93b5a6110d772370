"""An Azure Blob Storage server (Azurite) as a child process."""
import base64
import email.utils
import hashlib
import hmac
import itertools
import os
import urllib.parse
import xml.etree.ElementTree

import requests

from . import bucket
from .paths import INTEGRATION_TESTS
from .ports import free_ports
from .program import Program
from .tools import need

SCRIPT = INTEGRATION_TESTS / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
ACCOUNT, VERSION = "acme", "2023-11-03"
KEY = base64.b64encode(b"a key of the storage account for tests").decode()


class Bucket(bucket.Bucket):
    """One container, seen with requests signed here."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self._call("PUT", "", {"restype": "container"})

    def _call(self, method, key, query=None, body=b"", headers=None):
        path = f"/{ACCOUNT}/{self.name}" + (f"/{urllib.parse.quote(key)}" if key else "")
        query = query or {}
        headers = {
            "x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": VERSION, **(headers or {}),
        }
        canonical = "".join(f"{k}:{headers[k]}\n" for k in sorted(headers))
        resource = f"/{ACCOUNT}{path}" + "".join(f"\n{k}:{query[k]}" for k in sorted(query))
        length = str(len(body)) if body else ""
        text = f"{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{canonical}{resource}"
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        response = requests.request(
            method, self.server.url + path, params=query, data=body, timeout=30,
            headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{signature}"})
        response.raise_for_status()
        return response

    def keys(self, prefix=""):
        found, marker = [], ""
        while True:
            query = {"restype": "container", "comp": "list", "prefix": prefix, "marker": marker}
            response = self._call("GET", "", {k: v for k, v in query.items() if v})
            page = xml.etree.ElementTree.fromstring(response.content.decode("utf-8-sig"))
            found += [name.text for name in page.iterfind("Blobs/Blob/Name")]
            marker = page.findtext("NextMarker")
            if not marker:
                return sorted(found)

    def get(self, key):
        return self._call("GET", key).content

    def put(self, key, body):
        self._call("PUT", key, body=body, headers={"x-ms-blob-type": "BlockBlob"})

    def config(self, port=None, **extra):
        return {"storage": {"trace": {"backend": "azure", "azure": {
            "container_name": self.name, "storage_account_name": ACCOUNT, "storage_account_key": KEY,
            "endpoint_suffix": f"127.0.0.1:{port or self.server.port}", **extra,
        }}}}


class Azure(Program):
    """The server process; `new_bucket` for each test."""

    title = "the Azure server"

    numbers = itertools.count(1)

    def __init__(self, directory):
        super().__init__(directory / "azure.log")
        self.directory = directory
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        node, script = need("node"), need("azurite", SCRIPT)
        self.run(
            [node, script, "--blobHost", "127.0.0.1", "--blobPort", str(self.port),
             "--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"],
            cwd=self.directory, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
        self.until(lambda: requests.get(self.url, timeout=5).status_code < 500, "the Azure server answers")
        return self

    def new_bucket(self):
        return Bucket(self, f"traces-{next(self.numbers)}")
