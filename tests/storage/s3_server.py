"""A server that speaks S3 on loopback, and refuses to be written to when a test says so."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

BUCKET = "bench"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

STATUS = {"AccessDenied": "403 Forbidden", "SlowDown": "503 Slow Down"}


class Gate:
    """A WSGI application before another one.

    Attributes:
        refusals: how many more requests that would change something are refused.
        answer: what they are told, `AccessDenied` or `SlowDown`.
        refused: how many have been.
        requests: method and path of all, in their order.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self.refusals = self.refused = 0
        self.answer = "AccessDenied"
        self.requests: list[tuple[str, str]] = []

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        self.requests.append((method, environ["PATH_INFO"]))
        if method in ("PUT", "POST", "DELETE") and self.refusals > 0:
            self.refusals -= 1
            self.refused += 1
            start_response(STATUS[self.answer], [("Content-Type", "application/xml")])
            return [f"<Error><Code>{self.answer}</Code><Message>not now</Message></Error>".encode()]
        return self._application(environ, start_response)


class Server:
    """Where it listens, and its gate."""

    def __init__(self, gate: Gate, port: int) -> None:
        self.gate = gate
        self.address = f"http://127.0.0.1:{port}"
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.address}


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """The server, with an empty bucket."""
    server_of = pytest.importorskip("moto.server", reason="needs the package moto[server]")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            """Nothing."""

    gate = Gate(server_of.DomainDispatcherApplication(server_of.create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found = Server(gate, server.server_port)
    request = urllib.request.Request(f"{found.address}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(request):
        pass
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
