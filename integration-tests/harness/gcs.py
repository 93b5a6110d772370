"""A Google Cloud Storage server (fake-gcs-server) as a child process, with the XML calls that it lacks in front."""
import http.server
import itertools
import json
import re
import threading
import urllib.parse
import uuid

import requests

from . import bucket
from .paths import CACHE
from .ports import free_ports
from .program import Program
from .tools import need

BINARY = CACHE / "bin" / "fake-gcs-server"


class Bucket(bucket.Bucket):
    """One bucket, seen by the JSON interface."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        created = requests.post(f"{server.json_url}/storage/v1/b", json={"name": name}, timeout=10)
        created.raise_for_status()

    def _object(self, key):
        return f"{self.server.json_url}/storage/v1/b/{self.name}/o/{urllib.parse.quote(key, safe='')}"

    def keys(self, prefix=""):
        listed = requests.get(
            f"{self.server.json_url}/storage/v1/b/{self.name}/o", params={"prefix": prefix}, timeout=30)
        listed.raise_for_status()
        return sorted(item["name"] for item in listed.json().get("items", []))

    def get(self, key):
        response = requests.get(self._object(key), params={"alt": "media"}, timeout=30)
        response.raise_for_status()
        return response.content

    def facts(self, key):
        """What the store knows about an object besides its bytes."""
        response = requests.get(self._object(key), timeout=30)
        response.raise_for_status()
        return response.json()

    def put(self, key, body):
        url = f"{self.server.json_url}/upload/storage/v1/b/{self.name}/o"
        requests.post(url, params={"uploadType": "media", "name": key}, data=body, timeout=30).raise_for_status()

    def config(self, port=None, **extra):
        return {"storage": {"trace": {"backend": "gcs", "gcs": {
            # As others write it; only the host is of interest.
            "bucket_name": self.name, "endpoint": f"http://127.0.0.1:{port or self.server.port}/storage/v1/",
            "insecure": True, **extra,
        }}}}


class Gcs(Program):
    """The server process; `new_bucket` for each test. `port` speaks XML and JSON."""

    title = "the GCS server"

    numbers = itertools.count(1)

    def __init__(self, directory):
        super().__init__(directory / "gcs.log")
        self.json_port, self.port = free_ports(2)
        self.json_url = f"http://127.0.0.1:{self.json_port}"
        self.uploads, self.front = Uploads(self.json_url), None

    def start(self):
        binary = need("fake-gcs-server", BINARY)
        self.run([binary, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1",
                  "-port", str(self.json_port), "-public-host", f"127.0.0.1:{self.json_port}"])
        self.until(lambda: requests.get(self.json_url + "/storage/v1/b", timeout=5).ok, "the GCS server answers")
        handler = type("Handler", (XmlFront,), {"uploads": self.uploads})
        self.front = Front(("127.0.0.1", self.port), handler)
        threading.Thread(target=self.front.serve_forever, daemon=True).start()
        return self

    def new_bucket(self):
        return Bucket(self, f"traces-{next(self.numbers)}")

    def close(self):
        if self.front is not None:
            self.front.shutdown()
            self.front.server_close()
        super().close()


class Uploads:
    """Uploads in parts that are not complete, and the way to the server behind."""

    def __init__(self, upstream):
        self.upstream, self.parts, self.headers = upstream, {}, {}
        # What the server behind does not keep: the cache header of each object.
        self.cache_control = {}
        self.session = requests.Session()
        self.session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def begin(self, headers):
        upload_id = uuid.uuid4().hex
        self.parts[upload_id], self.headers[upload_id] = {}, headers
        return upload_id

    def insert(self, bucket_name, key, body, headers):
        """Stores an object as the JSON interface does, with its metadata; returns the response."""
        facts = {"name": key, "contentType": headers.get("Content-Type", "application/octet-stream")}
        self.cache_control[bucket_name, key] = next((v for k, v in headers.items() if k.lower() == "cache-control"), None)
        metadata = {k[12:].lower(): v for k, v in headers.items() if k.lower().startswith("x-goog-meta-")}
        if metadata:
            facts["metadata"] = metadata
        params = {"uploadType": "multipart", "name": key}
        if "x-goog-if-generation-match" in headers:
            params["ifGenerationMatch"] = headers["x-goog-if-generation-match"]
        boundary = uuid.uuid4().hex.encode()
        data = b"".join([
            b"--", boundary, b"\r\nContent-Type: application/json\r\n\r\n", json.dumps(facts).encode(),
            b"\r\n--", boundary, b"\r\nContent-Type: application/octet-stream\r\n\r\n", body,
            b"\r\n--", boundary, b"--\r\n"])
        return self.session.post(
            f"{self.upstream}/upload/storage/v1/b/{bucket_name}/o", params=params, data=data, timeout=60,
            headers={"Content-Type": f"multipart/related; boundary={boundary.decode()}"})


class Front(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that went away is no news."""


class XmlFront(http.server.BaseHTTPRequestHandler):
    """Takes writes and deletes by the XML interface; passes everything else on."""

    protocol_version = "HTTP/1.1"
    uploads = None

    def log_message(self, *_):
        pass

    def _answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status, code):
        body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>".encode()
        self._answer(status, body, {"Content-Type": "application/xml"})

    def _stored(self, response, body=b""):
        if response.status_code == 412:
            self._error(412, "PreconditionFailed")
        elif response.status_code == 404:
            self._error(404, "NoSuchBucket")
        elif not response.ok:
            self._answer(response.status_code, response.content)
        else:
            facts = response.json()
            headers = {"ETag": f'"{facts["etag"]}"', "x-goog-generation": facts["generation"]}
            self._answer(200, body, headers)

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        bucket_name, _, key = urllib.parse.unquote(url.path.lstrip("/")).partition("/")
        upload = query.get("uploadId", [None])[0]
        if upload is not None and upload not in self.uploads.parts:
            self._error(404, "NoSuchUpload")
        elif self.command == "POST" and "uploads" in query:
            upload = self.uploads.begin(dict(self.headers))
            xml = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            self._answer(200, xml.encode())
        elif self.command == "PUT" and upload:
            number = int(query["partNumber"][0])
            self.uploads.parts[upload][number] = body
            self._answer(200, headers={"ETag": f'"{upload}-{number}"'})
        elif self.command == "POST" and upload:
            self._complete(bucket_name, key, upload, body)
        elif self.command == "DELETE" and upload:
            del self.uploads.parts[upload]
            self._answer(204)
        elif self.command == "PUT" and key:
            self._stored(self.uploads.insert(bucket_name, key, body, dict(self.headers)))
        elif self.command == "DELETE" and key:
            self._delete(bucket_name, key)
        else:
            self._pass_on(body)

    def _delete(self, bucket_name, key):
        response = self.uploads.session.delete(
            f"{self.uploads.upstream}/storage/v1/b/{bucket_name}/o/{urllib.parse.quote(key, safe='')}", timeout=30)
        if response.ok:
            self._answer(204)
        else:
            self._error(response.status_code, "NoSuchKey")

    def _complete(self, bucket_name, key, upload, body):
        numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        parts = self.uploads.parts[upload]
        if sorted(parts) != numbers or any(len(parts[n]) < 5 << 20 for n in numbers[:-1]):
            self._error(400, "InvalidPart")
            return
        whole = b"".join(parts[number] for number in numbers)
        stored = self.uploads.insert(bucket_name, key, whole, self.uploads.headers[upload])
        if stored.ok:
            del self.uploads.parts[upload]
        xml = f'<CompleteMultipartUploadResult><ETag>"{upload}"</ETag></CompleteMultipartUploadResult>'
        self._stored(stored, xml.encode())

    def _pass_on(self, body):
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "authorization")}
        response = self.uploads.session.request(
            self.command, self.uploads.upstream + self.path, data=body, headers=headers, timeout=60)
        # The store itself calls a missing bucket by this name; its stand-in fails.
        if response.status_code == 500 and b"no bucket" in response.content.lower():
            self._error(404, "NoSuchBucket")
            return
        kept = ("content-type", "etag", "last-modified", "content-range", "x-goog-generation")
        headers = {k: v for k, v in response.headers.items() if k.lower() in kept}
        if response.ok and "x-goog-generation" in response.headers:
            # Which every object has, though not every version of this server says it.
            headers.setdefault("ETag", f'"{response.headers["x-goog-generation"]}"')
        if self.command == "HEAD":
            headers["Content-Length"] = response.headers.get("Content-Length", "0")
        self._answer(response.status_code, response.content, headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve
