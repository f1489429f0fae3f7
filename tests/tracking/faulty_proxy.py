"""A proxy before an MLflow server that does to requests what outages do."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from tracked_runs import free_port

Fault = int | Literal["", "gone", "hangs", "no answer"]
"""An HTTP status instead of an answer; the connection cut; no sign for ever; cut once the server has done it."""


class Proxy:
    """Passes requests on, but for those that `fault` says something about: all, or those with `only` in their path."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.fault: Fault = ""
        self.only = ""
        self.failed = 0
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def failing(self, fault: Fault, only: str = "") -> Iterator[None]:
        """A while in which requests fail."""
        self.failed, self.fault, self.only = 0, fault, only
        self._released.clear()
        try:
            yield
        finally:
            self.fault = ""
            self._released.set()

    def fault_of(self, path: str) -> Fault:
        """What becomes of a request; waits where that is nothing."""
        fault = self.fault if self.only in path else ""
        if fault:
            self.failed += 1
        if fault == "hangs":
            self._released.wait(60)
        return fault

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault_of(self.path)
            if fault in ("gone", "hangs"):
                self.close_connection = True
            elif isinstance(fault, int):
                self.send(fault, b"out of order", {"Retry-After": "120"})
            else:
                self.pass_on(body, answer=fault != "no answer")

        def pass_on(self, body: bytes, answer: bool) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            reply = connection.getresponse()
            content = reply.read()
            if answer:
                self.send(reply.status, content, {"Content-Type": reply.headers["Content-Type"]})
            else:
                self.close_connection = True
            connection.close()

        def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    return Handler
