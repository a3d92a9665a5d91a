"""As much of an S3 server as programs put results with, over one folder in memory."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape


@dataclass
class Store:
    """A server of buckets; ``asked`` and the answers that fail are for the tests."""

    address: str = ""
    buckets: set[str] = field(default_factory=lambda: {"dam"})
    objects: dict[str, bytes] = field(default_factory=dict)  # by bucket/key
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int = 0  # of every answer; 0: what is due
    status_of: str = ""  # the methods that it is of; empty: all
    puts_left: int = 10**9  # that go well before all others answer 503
    at_put: tuple[int, Callable[[], object]] = (0, bool)  # what is done at the nth put from here
    lock: threading.Lock = field(default_factory=threading.Lock)

    def when_put(self, count: int, act: Callable[[], object]) -> None:
        """Do something before the nth object from now on is put."""
        with self.lock:
            self.at_put = count, act

    def below(self, prefix: str) -> dict[str, bytes]:
        """Return the objects below a prefix, by what follows it."""
        start = prefix.rstrip("/") + "/"
        found = {k[len(start) :]: v for k, v in self.objects.items() if k.startswith(start)}
        return dict(sorted(found.items()))

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers."""
        parts = urlsplit(target)
        path, query = unquote(parts.path).lstrip("/"), parse_qs(parts.query, True)
        bucket, _, key = path.partition("/")
        with self.lock:
            self.asked.append(f"{method} {path}")
            if method == "PUT":
                self.puts_left -= 1
                self.at_put = self.at_put[0] - 1, self.at_put[1]
                if self.at_put[0] == 0:
                    self.at_put[1]()
            if self.status and (not self.status_of or method in self.status_of):
                return self.status, b"<Error><Code>Refused</Code></Error>", {}
            if self.puts_left < 0:
                return 503, b"", {}
            if bucket not in self.buckets:
                return 404, b"<Error><Code>NoSuchBucket</Code></Error>", {}
            if "delete" in query:
                return self._delete(bucket, body.decode())
            if not key and method == "GET":
                return 200, self._listing(bucket, query), {}
            if "uploads" in query or "uploadId" in query:
                return self._in_parts(method, path, query, body)
            return self._object(method, path, body)

    def _object(self, method: str, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if method == "PUT":
            self.objects[path] = body
            return 200, b"", {"ETag": _tag(body)}
        if method == "DELETE":
            self.objects.pop(path, None)
            return 204, b"", {}
        if path not in self.objects:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        facts = {"ETag": _tag(self.objects[path]), "Last-Modified": _DATE}
        return 200, self.objects[path], facts

    def _delete(self, bucket: str, body: str) -> tuple[int, bytes, dict[str, str]]:
        keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body)]
        for key in keys:
            self.objects.pop(f"{bucket}/{key}", None)
        rows = [f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys]
        return 200, _xml("DeleteResult", *rows), {}

    def _in_parts(
        self, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if "uploads" in query:
            name = f"u{len(self.uploads)}"
            self.uploads[name] = {}
            return 200, _xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>"), {}
        parts = self.uploads[query["uploadId"][0]]
        if method == "PUT":
            parts[int(query["partNumber"][0])] = body
            return 200, b"", {"ETag": _tag(body)}
        if method == "POST":
            self.objects[path] = whole = b"".join(parts[n] for n in sorted(parts))
            return 200, _xml("CompleteMultipartUploadResult", f"<ETag>{_tag(whole)}</ETag>"), {}
        return 204, b"", {}

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix, mark = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        folders, rows = set(), []
        for path, data in sorted(self.objects.items()):
            key = path.partition("/")[2]
            if not path.startswith(f"{bucket}/{prefix}"):
                continue
            rest = key[len(prefix) :]
            if mark and mark in rest:
                folders.add(prefix + rest.partition(mark)[0] + mark)
                continue
            facts = f"<Size>{len(data)}</Size><LastModified>{_STAMP}</LastModified>"
            rows.append(f"<Contents><Key>{escape(key)}</Key>{facts}<ETag>{_tag(data)}</ETag>")
            rows.append("</Contents>")
        for folder in sorted(folders):
            rows.append(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>")
        counted = f"<Name>{bucket}</Name><KeyCount>{len(rows)}</KeyCount>"
        return _xml("ListBucketResult", counted + "<IsTruncated>false</IsTruncated>", *rows)


_STAMP, _DATE = "2015-10-21T07:28:00.000Z", "Wed, 21 Oct 2015 07:28:00 GMT"


def _tag(data: bytes) -> str:
    return f"&quot;{hashlib.md5(data).hexdigest()}&quot;".replace("&quot;", '"')


def _xml(name: str, *inside: str) -> bytes:
    return f"<{name}>{''.join(inside)}</{name}>".encode()


@contextmanager
def serving(store: Store) -> Iterator[dict[str, str]]:
    """Serve a store, and give the environment in which programs find it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, data, facts = store.answer(self.command, self.path, body)
            part = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if part and status == 200:
                start, stop = int(part[1]), min(int(part[2]) + 1, len(data))
                facts["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
                status, data = 206, data[start:stop]
            self.send_response(status)
            for name, value in facts.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *unused: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    store.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield {
            "AWS_ENDPOINT_URL": store.address,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "hidden",
            "AWS_REGION": "here",
        }
    finally:
        server.shutdown()
        server.server_close()
