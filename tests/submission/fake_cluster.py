"""A job server on loopback that answers as Ray's does, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

FIXED = "node_" + "4c9f3e6a" * 7
PATIENCE = 10


def node(cpus: float = 8, gpus: float = 0, state: str = "ALIVE") -> dict[str, Any]:
    """As the State API lists one."""
    return {"state": state, "resources_total": {"CPU": cpus, "memory": 1e10} | ({"GPU": gpus} if gpus else {})}


def job(name: str, status: str = "RUNNING", start: int = 1, **details: Any) -> dict[str, Any]:
    """As the job server describes one of suite `name`."""
    ended = {} if status in ("RUNNING", "PENDING") else {"end_time": (start + 60) * 1000}
    return {
        "type": "SUBMISSION",
        "submission_id": f"eqbench-{name}-{start}",
        "status": status,
        "entrypoint": f"eqbench run {name}.yaml",
        "message": "",
        "start_time": start * 1000,
        "metadata": {"eqbench.suite": name, "eqbench.kind": "suite", "eqbench.storage": "/shared"},
        "driver_exit_code": None,
        **ended,
        **details,
    }


@dataclass
class FakeCluster:
    """What the job server has, and what was sent to it."""

    token: str = ""
    nodes: list[dict[str, Any]] = field(default_factory=lambda: [node()])
    node_types: list[str] = field(default_factory=lambda: [FIXED])
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    said: str = "the log\n"
    """By a job without a log of its own."""
    packages: dict[str, bytes] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    ends_as: dict[str, Any] = field(default_factory=lambda: {"status": "SUCCEEDED", "driver_exit_code": 0})
    """What becomes of a job once its log has been read, or it was stopped."""
    lost_connections: list[int] = field(default_factory=list)
    """After how many characters of the log the next connections are lost."""
    broken: list[int] = field(default_factory=list)
    """With which statuses the next questions about one job are answered."""
    websockets: bool = True
    """Whether a log can be followed; a proxy may not let it through."""
    holds: bool = False
    """Whether a log's connection stays open after its last character."""
    headers: list[dict[str, str]] = field(default_factory=list)
    address: str = ""

    def add(self, *jobs: dict[str, Any]) -> None:
        self.jobs.update({each["submission_id"]: each for each in jobs})

    # -- answers -------------------------------------------------------------------------------------------------

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if self.token and request.path != "/api/authentication_mode":
            sent = request.headers.get("Authorization")
            if not sent:
                return web.Response(status=401, text="Unauthorized: Missing authentication token")
            if sent != f"Bearer {self.token}":
                return web.Response(status=403, text="Forbidden: Invalid authentication token")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _mode(self, request: web.Request) -> web.Response:
        return web.json_response({"authentication_mode": "token" if self.token else "disabled"})

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0"})

    async def _nodes(self, request: web.Request) -> web.Response:
        return web.json_response({"result": True, "data": {"result": {"result": self.nodes}}})

    async def _status(self, request: web.Request) -> web.Response:
        active = "".join(f" 1 {name}\n" for name in self.node_types)
        text = f"==== Autoscaler status ====\nNode status\n----\nActive:\n{active}Pending:\n (no pending nodes)\n"
        return web.json_response({"data": {"clusterStatus": text}})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([*self.jobs.values(), {"type": "DRIVER", "status": "RUNNING", "entrypoint": ""}])

    async def _one(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=self.broken.pop(0), text="upstream connect error")
        found = self.jobs.get(request.match_info["job"])
        return web.json_response(found) if found else web.Response(status=404, text="does not exist")

    async def _submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.submitted.append(asked)
        described = job("x", submission_id=asked["submission_id"], entrypoint=asked["entrypoint"])
        self.add({**described, "metadata": asked["metadata"]})
        return web.json_response({"submission_id": asked["submission_id"]})

    async def _stop(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["job"]].update({"status": "STOPPED", "end_time": 100_000})
        return web.json_response({"stopped": True})

    async def _log(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": self.logs.get(request.match_info["job"], self.said)})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        if not self.websockets:
            return web.Response(status=400, text="no upgrade")
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        text = self.logs.get(request.match_info["job"], self.said)
        lost = self.lost_connections.pop(0) if self.lost_connections else None
        for start in range(0, len(text if lost is None else text[:lost]), 5):
            await answer.send_str(text[start : start + 5])
        if self.holds:
            await answer.receive()
        elif lost is not None:
            assert request.transport is not None
            request.transport.abort()
        else:
            self.jobs[request.match_info["job"]].update(self.ends_as)
        return answer

    async def _has(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._authorize], client_max_size=2**30)
        application.add_routes(
            [
                web.get("/api/authentication_mode", self._mode),
                web.get("/api/version", self._version),
                web.get("/api/v0/nodes", self._nodes),
                web.get("/api/cluster_status", self._status),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{job}", self._one),
                web.post("/api/jobs/{job}/stop", self._stop),
                web.get("/api/jobs/{job}/logs", self._log),
                web.get("/api/jobs/{job}/logs/tail", self._tail),
                web.get("/api/packages/gcs/{name}", self._has),
                web.put("/api/packages/gcs/{name}", self._upload),
            ]
        )
        return application

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeCluster]:
        """Answers at `address`."""
        loop = asyncio.new_event_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        runner = web.AppRunner(self._application(), shutdown_timeout=0.1)

        async def start() -> None:
            await runner.setup()
            await web.SockSite(runner, listener).start()

        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)
            loop.close()


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server of another kind, that answers every connection with these bytes; its address."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def page(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def closed_port() -> int:
    """A port on loopback on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def as_json(text: str) -> Any:
    return json.loads(text)
