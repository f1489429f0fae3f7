"""A job's log on this terminal until the job has ended, over lost connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from eqbench.errors import EnvironmentProblem
from eqbench.submission.job import Job
from eqbench.submission.job_server import JobServer, Unreachable

SECONDS_TO_RECONNECT = 300.0
"""For which a cluster that does not answer is asked again."""
SECONDS_BETWEEN_TRIES = 2.0
SECONDS_BETWEEN_PINGS = 30.0
SECONDS_TO_CANCEL = 150.0


def follow(server: JobServer, job_id: str, write: Callable[[str], object]) -> Job:
    """Write a job's log as it grows; the job once it has ended.

    Raises:
        EnvironmentProblem: the cluster no longer knows the job, or has not answered for long.
    """
    log = _Log(server, job_id, write)
    answered = time.monotonic()
    while True:
        lost = None
        try:
            log.read()
        except Unreachable as problem:
            lost = problem
        try:
            job = server.job(job_id)
        except Unreachable as problem:
            lost = problem
        else:
            if job is None:
                raise EnvironmentProblem(
                    f"{server.address}: the cluster does not know job {job_id} (any more); if its head node was "
                    "restarted, submit the suite again: what has finished is skipped"
                )
            if job.ended:
                return job
        if lost is None:
            answered = time.monotonic()
        elif time.monotonic() - answered > SECONDS_TO_RECONNECT:
            raise EnvironmentProblem(
                f"{lost}\neqbench has tried for {SECONDS_TO_RECONNECT:g} s; the job may go on, follow it with: "
                f"eqbench logs {job_id} --follow --address {server.address}"
            ) from lost
        time.sleep(SECONDS_BETWEEN_TRIES)


def wait_until_ended(server: JobServer, job_id: str, seconds: float = SECONDS_TO_CANCEL) -> Job:
    """The job once it has ended.

    Raises:
        EnvironmentProblem: it has not after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = server.job(job_id)
        if job is None or job.ended:
            return job or Job(job_id, "STOPPED", "", "", None, None, {}, None)
        time.sleep(0.5)
    raise EnvironmentProblem(
        f"job {job_id} has not ended {seconds:g} s after it was asked; see: eqbench status --address {server.address}"
    )


class _Log:
    """What has been written of a job's log, so that a new connection, which begins at its start, goes on from there."""

    def __init__(self, server: JobServer, job_id: str, write: Callable[[str], object]) -> None:
        self._server = server
        self._job_id = job_id
        self._write = write
        self._written = 0

    def read(self) -> None:
        """Write what is new until the server closes the connection: at the job's end.

        Raises:
            Unreachable: the connection failed or was lost.
        """
        import aiohttp

        try:
            asyncio.run(self._read())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(f"{self._server.address}: the connection was lost ({error})") from error

    async def _read(self) -> None:
        import aiohttp

        url = f"{self._server.address}/api/jobs/{self._job_id}/logs/tail"
        seen = 0
        async with (
            aiohttp.ClientSession(headers=self._server.headers, trust_env=True) as session,
            session.ws_connect(url, heartbeat=SECONDS_BETWEEN_PINGS, max_msg_size=0) as socket,
        ):
            async for message in socket:
                if message.type == aiohttp.WSMsgType.ERROR:
                    raise OSError(str(socket.exception()))
                text = str(message.data)
                new = text[max(0, self._written - seen) :]
                seen += len(text)
                if new:
                    self._written = seen
                    self._write(new)
            if socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
                raise OSError("closed abnormally")
