"""An S3 server in memory that keeps its promises, or breaks those that a test names."""
import collections
import contextlib
import itertools
import re
import threading
import time
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from . import bucket

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
Request = collections.namedtuple("Request", "method key query headers body")


class HostileS3(bucket.Bucket):
    """One bucket. `fault(request, answer)` may answer a request in its own way: it gets a Request and an Answer, and says
    whether it has answered. `asked` counts requests by method."""

    name = "traces"

    def __init__(self):
        self.objects, self.uploads, self.ids = {}, {}, itertools.count(1)
        self.lock, self.fault, self.asked = threading.Lock(), None, collections.Counter()
        server = self

        class Handler(Answer):
            store = server

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def keys(self, prefix=""):
        with self.lock:
            return sorted(key for key in self.objects if key.startswith(prefix))

    def put(self, key, body):
        with self.lock:
            self.objects[key] = (body, time.time())

    def get(self, key):
        return self.objects[key][0]

    def delete(self, key):
        with self.lock:
            self.objects.pop(key, None)

    def config(self, port=None, **extra):
        return {"storage": {"trace": {"backend": "s3", "s3": {
            "bucket": self.name, "endpoint": f"127.0.0.1:{port or self.port}", "region": "us-east-1",
            "access_key": "a", "secret_key": "b", "insecure": True, "forcepathstyle": True, **extra,
        }}}}


class Answer(BaseHTTPRequestHandler):
    """One request, and how to answer it."""

    protocol_version = "HTTP/1.1"
    # The head and the body are two writes.
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def handle_any(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        key = unquote(url.path).removeprefix("/" + self.store.name).removeprefix("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, key, query, self.headers, body)
        with self.store.lock:
            self.store.asked[self.command] += 1
        fault = self.store.fault
        try:
            if not (fault and fault(request, self)):
                self.answer(request)
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code):
        self.send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def finish(self):
        # The client may have left.
        with contextlib.suppress(OSError):
            super().finish()

    def answer(self, request):
        """As S3 does."""
        method, key, query = request.method, request.key, request.query
        if method == "GET" and "list-type" in query:
            return self.listing(request)
        if method in ("GET", "HEAD"):
            return self.object(request)
        if method == "POST" and "delete" in query:
            return self.delete_some(request)
        if method == "POST" and "uploads" in query:
            upload = str(next(self.store.ids))
            self.store.uploads[upload] = {}
            return self.send(200, f"<InitiateMultipartUploadResult {XMLNS}><UploadId>{upload}</UploadId>"
                                  "</InitiateMultipartUploadResult>".encode())
        if method == "POST":
            parts = self.store.uploads.pop(query["uploadId"], None)
            if parts is None:
                return self.error(404, "NoSuchUpload")
            self.store.put(key, b"".join(parts[number] for number in sorted(parts)))
            return self.send(200, f'<CompleteMultipartUploadResult {XMLNS}><ETag>"m"</ETag>'
                                  "</CompleteMultipartUploadResult>".encode())
        if method == "PUT" and "uploadId" in query:
            self.store.uploads[query["uploadId"]][int(query["partNumber"])] = request.body
            return self.send(200, ETag='"p"')
        if method == "PUT":
            if request.headers.get("If-None-Match") and key in self.store.objects:
                return self.error(412, "PreconditionFailed")
            self.store.put(key, request.body)
            return self.send(200, ETag=etag(request.body))
        self.store.uploads.pop(query.get("uploadId"), None)
        self.store.delete(key)
        return self.send(204)

    def delete_some(self, request):
        keys = re.findall(r"<Key>(.*?)</Key>", request.body.decode())
        for key in keys:
            self.store.delete(key)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self.send(200, f"<DeleteResult {XMLNS}>{deleted}</DeleteResult>".encode())

    def object(self, request):
        found = self.store.objects.get(request.key)
        if found is None:
            return self.error(404, "NoSuchKey")
        body, written = found
        modified = formatdate(written, usegmt=True)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range") or "")
        if not span:
            return self.send(200, body, ETag=etag(body), Last_Modified=modified)
        first, last = int(span[1]), min(int(span[2]), len(body) - 1)
        if first > last:
            return self.error(416, "InvalidRange")
        return self.send(206, body[first:last + 1], ETag=etag(body), Last_Modified=modified,
                         Content_Range=f"bytes {first}-{last}/{len(body)}")

    def listing(self, request, keys=None, token=None):
        """The first thousand of the keys, which may be others than there are, and the token of a next page."""
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter")
        after = max(request.query.get("start-after", ""), request.query.get("continuation-token", ""))
        contents, groups = [], []
        found = self.store.keys(prefix) if keys is None else keys
        for key in (key for key in found if keys is not None or key > after):
            rest = key[len(prefix):]
            if delimiter and delimiter in rest:
                groups.append(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            if len(contents) == 1000 and keys is None:
                token = contents[-1][0]
                break
            body, written = self.store.objects.get(key, (b"x", time.time()))
            contents.append((key, len(body), time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(written))))
        text = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><LastModified>{written}</LastModified>"
            f'<ETag>"e"</ETag></Contents>' for key, size, written in contents)
        text += "".join(f"<CommonPrefixes><Prefix>{escape(group)}</Prefix></CommonPrefixes>" for group in sorted(set(groups)))
        more = f"<NextContinuationToken>{quote(token)}</NextContinuationToken>" if token else ""
        self.send(200, f"<?xml version='1.0'?><ListBucketResult {XMLNS}><IsTruncated>{str(bool(token)).lower()}</IsTruncated>"
                       f"{more}{text}</ListBucketResult>".encode())

    def endless(self, head, chunk, count):
        """A body of so many chunks, whatever its head says."""
        self.send_response(head.pop("status"))
        for name, value in head.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(count):
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.close_connection = True


def etag(body):
    return f'"{md5(body).hexdigest()}"'
