"""The job server of a Ray cluster, on its dashboard: what it is asked over HTTP, and what its refusals mean."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from eqbench.doctor.cluster_probe import by_proxy, proxy_of
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.submission.address import DASHBOARD_PORT, find_address, headers, is_loopback
from eqbench.submission.job import Job

Read = TypeVar("Read")

SECONDS_TO_ANSWER = 15
SECONDS_TO_UPLOAD = 600
SECONDS_TO_SUBMIT = 120
MOST_NODES = 10_000


class Unreachable(EnvironmentProblem):
    """No answer: the connection failed, was lost or took too long, or a server on the way is in trouble (HTTP 5xx)."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: followed, it would take the token to a host that nobody has named."""

    def redirect_request(self, *_: object) -> None:
        return None


class JobServer:
    """Asks a cluster's job server.

    Args:
        address: its URL, e.g. `http://127.0.0.1:8265`.
        headers: sent with every request.
    """

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        self.address = address
        self.headers = dict(headers)
        self.proxy = "" if is_loopback(urlsplit(address).hostname or "") else proxy_of(address)
        """Of the environment; a tunnel on this machine is no matter of a proxy's."""
        proxies = {urlsplit(address).scheme: self.proxy} if self.proxy else {}
        self._opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler(proxies))

    def connect(self) -> str:
        """Make sure that there is a Ray cluster and that it lets us in; the version of its Ray.

        Raises:
            InputError: it is another kind of server.
            EnvironmentProblem: there is no answer, or a token is missing or wrong.
        """
        status, body = self._request("GET", "/api/authentication_mode", checked=False)
        if _json(body).get("authentication_mode") == "token" and not self._authorized:
            raise EnvironmentProblem(
                f"{self.address}: the cluster wants a token; export RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE "
                "with the token that `ray get-auth-token` prints on the head node"
            )
        status, body = self._request("GET", "/api/version")
        version = _json(body).get("ray_version")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _expect(status, body, "GET /api/version")
        if not version:
            raise InputError(
                f"--address {self.address}: answers, but is no Ray dashboard (GET /api/version: HTTP {status}); "
                f"expected e.g. http://<head>:{DASHBOARD_PORT}{self._by_proxy}"
            )
        return str(version)

    @property
    def _authorized(self) -> bool:
        return "authorization" in map(str.lower, self.headers)

    # -- jobs ----------------------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Every job that was submitted, running or ended, oldest first."""
        jobs = self._read(
            self._ask("GET", "/api/jobs/"),
            "its jobs",
            lambda found: [Job.read(each) for each in found if each.get("type") == "SUBMISSION"],
        )
        return sorted(jobs, key=lambda job: job.started or 0)

    def job(self, job_id: str) -> Job | None:
        """A job by its submission id; None if the cluster does not know it."""
        status, body = self._request("GET", f"/api/jobs/{quote(job_id, safe='')}")
        if status == HTTPStatus.NOT_FOUND:
            return None
        return self._read(_expect(status, body, "the job"), "a job", Job.read)

    def submit(self, request: Mapping[str, Any]) -> str:
        """Start a job; its submission id."""
        body = json.dumps(request).encode()
        answer = self._ask("POST", "/api/jobs/", body, SECONDS_TO_SUBMIT, "application/json")
        return self._read(answer, "what it has submitted", lambda found: str(found["submission_id"]))

    def stop(self, job_id: str) -> None:
        """Ask a job to end."""
        self._ask("POST", f"/api/jobs/{quote(job_id, safe='')}/stop", b"", SECONDS_TO_SUBMIT)

    def log(self, job_id: str) -> str:
        """Everything that a job has printed so far."""
        answer = self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}/logs")
        return self._read(answer, "a job's log", lambda found: str(found["logs"]))

    # -- packages ------------------------------------------------------------------------------------------------

    def upload(self, name: str, content: bytes) -> None:
        """Send a package, unless the cluster has it."""
        path = f"/api/packages/gcs/{quote(name, safe='')}"
        if self._request("GET", path)[0] != HTTPStatus.OK:
            self._ask("PUT", path, content, SECONDS_TO_UPLOAD, "application/octet-stream")

    # -- machines ------------------------------------------------------------------------------------------------

    def nodes(self) -> list[dict[str, Any]]:
        """Every living node as Ray's State API describes it; its `resources_total` in numbers.

        A cluster that has just been started lists none for some seconds; it is asked again.
        """
        deadline = time.monotonic() + SECONDS_TO_ANSWER
        while True:
            answer = self._ask("GET", f"/api/v0/nodes?detail=1&limit={MOST_NODES}")
            alive = self._read(answer, "its nodes", _living)
            if alive or time.monotonic() > deadline:
                return alive
            time.sleep(0.5)

    def autoscaler_status(self) -> str:
        """What `ray status` prints; empty where there is none."""
        status, body = self._request("GET", "/api/cluster_status?format=1")
        data = _json(body).get("data")
        return str(data.get("clusterStatus") or "") if status == HTTPStatus.OK and isinstance(data, dict) else ""

    # -- requests ------------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, body: bytes | None = None, seconds: float = SECONDS_TO_ANSWER, kind: str = ""
    ) -> bytes:
        status, answer = self._request(method, path, body, seconds, kind)
        return _expect(status, answer, f"{method} {path}")

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        seconds: float = SECONDS_TO_ANSWER,
        kind: str = "",
        *,
        checked: bool = True,
    ) -> tuple[int, bytes]:
        """Status and body of the answer; `checked`: a refusal for want of rights is an error."""
        headers = {**self.headers, **({"Content-Type": kind} if kind else {})}
        request = urllib.request.Request(self.address + path, data=body, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                content = error.read()
            if 300 <= error.code < 400 and (place := error.headers.get("Location")):
                raise InputError(self._elsewhere(urljoin(request.full_url, place))) from error
            if checked and error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise EnvironmentProblem(self._refusal(error.code)) from error
            return error.code, content
        except BadStatusLine as error:
            if isinstance(error, RemoteDisconnected):
                raise Unreachable(self._silence(error)) from error
            raise InputError(
                f"--address {self.address}: answers, but not in HTTP; expected the URL of Ray's dashboard, "
                f"e.g. http://{urlsplit(self.address).hostname}:{DASHBOARD_PORT}"
            ) from error
        except (OSError, HTTPException) as error:
            raise Unreachable(self._silence(error)) from error

    def _read(self, body: bytes, what: str, read: Callable[[Any], Read]) -> Read:
        """What `read` makes of an answer.

        Raises:
            EnvironmentProblem: it is no JSON, or not of the shape that Ray's answers have.
        """
        try:
            return read(json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EnvironmentProblem(
                f"{self.address}: asked for {what}, it answers with something else than Ray's job server does; is a "
                f"login page before it (RAY_JOB_HEADERS)?{self._by_proxy}"
            ) from error

    @property
    def _by_proxy(self) -> str:
        """For refusals: who else may have answered."""
        return by_proxy(self.address) if self.proxy else ""

    def _refusal(self, code: int) -> str:
        if code == HTTPStatus.UNAUTHORIZED:
            why = (
                "a token was sent, but a proxy before it wants its own: RAY_JOB_HEADERS"
                if self._authorized
                else ("export RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE with the cluster's token")
            )
            return f"{self.address}: HTTP 401, it wants to know who asks; {why}{self._by_proxy}"
        return (
            f"{self.address}: HTTP 403, the token is not this cluster's; `ray get-auth-token` on the head node prints "
            "the right one (RAY_AUTH_TOKEN goes before RAY_AUTH_TOKEN_PATH, that before ~/.ray/auth_token)"
            f"{self._by_proxy}"
        )

    def _elsewhere(self, place: str) -> str:
        parts = urlsplit(place)
        there = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return (
            f"--address {self.address}: redirects to {there}, and no token is sent on to where it was not meant for; "
            f"if that is Ray's dashboard, give its address; if it is a login page: RAY_JOB_HEADERS{self._by_proxy}"
        )

    def _silence(self, error: Exception) -> str:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"{self.address}: its certificate is not trusted ({reason.verify_message}); export SSL_CERT_FILE=FILE"
            )
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return (
            f"{self.address}: no answer ({said}); is the cluster up, and can this machine reach its dashboard? "
            f"A tunnel: ssh -L {DASHBOARD_PORT}:127.0.0.1:{DASHBOARD_PORT} <head>, or `ray dashboard CLUSTER.yaml`"
            f"{self._by_proxy}"
        )


def connected_server(address: str | None) -> JobServer:
    """The job server at `address`, or that of the environment, which answers.

    Raises:
        InputError, EnvironmentProblem: see `find_address` and `JobServer.connect`.
    """
    server = JobServer(find_address(address), headers())
    server.connect()
    return server


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _living(found: Any) -> list[dict[str, Any]]:
    nodes = found["data"]["result"]["result"]
    return [{**node, "resources_total": dict(node["resources_total"])} for node in nodes if node["state"] == "ALIVE"]


def _expect(status: int, body: bytes, what: str) -> bytes:
    if status == HTTPStatus.OK:
        return body
    lines = body.decode(errors="replace").strip().splitlines() or ["no message"]
    kind = Unreachable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else EnvironmentProblem
    raise kind(f"the cluster answers {what} with HTTP {status}: {lines[-1][:300]}")
