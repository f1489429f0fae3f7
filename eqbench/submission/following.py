"""A job's log on this terminal until the job has ended, over lost connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from eqbench.errors import EnvironmentProblem
from eqbench.submission.job import Job
from eqbench.submission.job_server import JobServer, Unreachable

SECONDS_TO_RECONNECT = 300.0
"""For which a cluster that does not answer is asked again."""
SECONDS_FOR_THE_REST = 30.0
"""For which the end of the log of a job that has ended is asked for."""
SECONDS_BETWEEN_TRIES = 2.0
SECONDS_BETWEEN_PINGS = 30.0
SECONDS_TO_CANCEL = 150.0


def follow(server: JobServer, job_id: str, write: Callable[[str], object]) -> Job:
    """Write a job's log as it grows, over lost connections and without WebSockets too; the job once it has ended.

    Raises:
        EnvironmentProblem: the cluster no longer knows the job, or has not answered for long.
    """
    log = _Log(server, job_id, write)
    again = f"eqbench logs {job_id} --follow --address {server.address}"
    while True:
        lost = log.read()
        try:
            job = server.job(job_id)
        except Unreachable as problem:
            lost = problem
        else:
            log.answered = time.monotonic()
            if job is None:
                raise EnvironmentProblem(
                    f"{server.address}: the cluster does not know job {job_id} (any more); if its head node was "
                    "restarted, submit the suite again: what has finished is skipped"
                )
            if lost:
                lost = log.read_rest(SECONDS_FOR_THE_REST if job.ended else 0)
            if job.ended:
                if lost:
                    write(f"\n{lost}\neqbench: the end of the log is missing here; see: {again}\n")
                return job
        if time.monotonic() - log.answered > SECONDS_TO_RECONNECT:
            raise EnvironmentProblem(
                f"{lost}\neqbench has tried for {SECONDS_TO_RECONNECT:g} s; the job may go on, follow it with: {again}"
            ) from lost
        time.sleep(SECONDS_BETWEEN_TRIES)


def wait_until_ended(server: JobServer, job_id: str, seconds: float = SECONDS_TO_CANCEL) -> Job:
    """The job once it has ended, over lost connections.

    Raises:
        EnvironmentProblem: it has not after `seconds`.
    """
    deadline = time.monotonic() + seconds
    lost = None
    while time.monotonic() < deadline:
        try:
            job = server.job(job_id)
        except Unreachable as problem:
            lost = problem
        else:
            if job is None or job.ended:
                return job or Job(job_id, "STOPPED", "", "", None, None, {}, None)
            lost = None
        time.sleep(0.5)
    raise lost or EnvironmentProblem(
        f"job {job_id} has not ended {seconds:g} s after it was asked; see: eqbench status --address {server.address}"
    )


def _by_proxy(url: str, named: str) -> dict[str, Any]:
    """Options with which aiohttp asks a URL through a proxy of the environment, whose URL may hold a password."""
    import aiohttp

    if not named:
        return {}
    scheme, _, rest = named.rpartition("://")
    login, _, host = rest.rpartition("@")
    user, _, password = login.partition(":")
    authorization = aiohttp.encode_basic_auth(unquote(user), unquote(password))
    headers = "proxy_headers" if url.startswith("https:") else "headers"  # without encryption, the proxy reads them all
    return {
        "proxy": f"{scheme or 'http'}://{host}",
        **({headers: {"Proxy-Authorization": authorization}} if login else {}),
    }


class _Log:
    """What has been written of a job's log, so that a new connection, which begins at its start, goes on from there."""

    def __init__(self, server: JobServer, job_id: str, write: Callable[[str], object]) -> None:
        self._server = server
        self._job_id = job_id
        self._write = write
        self._written = 0
        self.answered = time.monotonic()
        """When the cluster was last heard of."""

    def read(self) -> Unreachable | None:
        """Write what is new until the server closes the connection, at the job's end; why the connection was lost."""
        import aiohttp

        try:
            asyncio.run(self._read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:  # of a proxy that is no URL
            return Unreachable(f"{self._server.address}: the connection was lost ({error})")
        return None

    def read_rest(self, seconds: float) -> Unreachable | None:
        """Write what is new by now; why it could not be had, for so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._write_from(0, self._server.log(self._job_id))
            except Unreachable as problem:
                if time.monotonic() >= deadline:
                    return problem
                time.sleep(SECONDS_BETWEEN_TRIES)
            else:
                return None

    def _write_from(self, start: int, text: str) -> None:
        """Write what is new in a part of the log that begins with its `start`-th character."""
        new = text[max(0, self._written - start) :]
        if new:
            self._written = start + len(text)
            self._write(new)

    async def _read(self) -> None:
        import aiohttp

        url = f"{self._server.address}/api/jobs/{quote(self._job_id, safe='')}/logs/tail"
        seen = 0
        options = _by_proxy(url, self._server.proxy)
        async with (
            # With trust_env, aiohttp would send what ~/.netrc has for the host.
            aiohttp.ClientSession(headers=self._server.headers, trust_env=False) as session,
            session.ws_connect(url, heartbeat=SECONDS_BETWEEN_PINGS, max_msg_size=0, **options) as socket,
        ):
            try:
                async for message in socket:
                    if message.type == aiohttp.WSMsgType.ERROR:
                        raise OSError(str(socket.exception()))
                    self._write_from(seen, str(message.data))
                    seen += len(str(message.data))
            finally:
                self.answered = time.monotonic()  # until now it has answered pings, however little was written
            if socket.close_code != aiohttp.WSCloseCode.OK:
                raise OSError(f"closed with code {socket.close_code}")
