#!/usr/bin/env python3
"""Tells Ray that this spot machine will be taken away: its runs write a checkpoint at once and go on elsewhere.

    spot_notice.py aws|gcp|azure

Starts beside Ray on a worker, asks the machine's own metadata service every few seconds, and when that says that the
machine will go, gives it to Ray once, with the seconds that are left (`ray drain-node`, reason preemption). Ends with
Ray. It needs Python alone, no account and no rights: machines may ask for their own notice.

What a change costs: it is for machines started after that, or for all after `ray up`, which restarts Ray.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

SERVICE = "http://169.254.169.254"
PROCESSES = Path("/proc")
RAY_NODE = (
    "raylet"  # Ray's process on every machine; its command line has the number of the node and the head's address
)
SECONDS_TO_START = 120.0
SECONDS_TO_ANSWER = 5.0  # of the service
SECONDS_TO_TELL = 60.0
AT_LEAST = {"aws": 120, "gcp": 30, "azure": 30}
"""Seconds between the notice and the end that the cloud promises, where it does not say when the end is."""
SECONDS_OF_A_CHECKPOINT = 10
"""Ray gives up at the end that it is told; a last attempt costs nothing."""
EVERY = {"aws": 5.0, "gcp": 2.0, "azure": 2.0}
"""Seconds between two questions."""

Ask = Callable[..., str]
log = logging.getLogger("spot_notice")


def ask(url: str, headers: Mapping[str, str], method: str = "GET") -> str:
    """What the service answers; empty where it has nothing of that name (404).

    Raises:
        OSError: it does not answer, or with another error.
    """
    request = Request(url, headers=dict(headers), method=method)
    try:
        # Without the proxies of the environment: the service is of this machine.
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS_TO_ANSWER) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        if error.code == 404:
            return ""
        raise


def seconds_until(end: datetime) -> int:
    """Whole seconds from now on, not below 0."""
    return max(0, math.floor((end - datetime.now(UTC)).total_seconds()))


def aws(service: str) -> int | None:
    """Seconds that are left to a machine of EC2, None without a notice. Version 2 of the service: a token first."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    session = {"X-aws-ec2-metadata-token": ask(f"{service}/latest/api/token", lifetime, "PUT")}
    notice = ask(f"{service}/latest/meta-data/spot/instance-action", session)
    if not notice:
        return None
    said: dict[str, Any] = json.loads(notice)
    if said["action"] == "hibernate" or "time" not in said:  # hibernation begins at once
        return 0 if said["action"] == "hibernate" else AT_LEAST["aws"]
    return seconds_until(datetime.fromisoformat(said["time"].replace("Z", "+00:00")))


def gcp(service: str) -> int | None:
    """Seconds that are left to a machine of Compute Engine, None without a notice."""
    said = ask(f"{service}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return AT_LEAST["gcp"] if said.strip() == "TRUE" else None


def azure(service: str) -> int | None:
    """Seconds that are left to a machine of Azure, None without a notice. Notices of its neighbours come along."""
    headers = {"Metadata": "true"}
    said = ask(f"{service}/metadata/scheduledevents?api-version=2020-07-01", headers)
    events = [event for event in json.loads(said or "{}").get("Events", []) if event["EventType"] == "Preempt"]
    if not events:
        return None
    name = ask(f"{service}/metadata/instance/compute/name?api-version=2021-02-01&format=text", headers).strip()
    for event in events:
        if name in event["Resources"]:
            # Empty once it has begun.
            return seconds_until(parsedate_to_datetime(event["NotBefore"])) if event["NotBefore"] else 0
    return None


CLOUDS: dict[str, Callable[[str], int | None]] = {"aws": aws, "gcp": gcp, "azure": azure}


def ray_node() -> tuple[int, dict[str, str]] | None:
    """Ray's process on this machine: its id and the options of its command line. None while there is none."""
    for file in PROCESSES.glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if Path(words[0]).name == RAY_NODE:
            options = [word[2:].partition("=") for word in words[1:] if word.startswith("--")]
            return int(file.parent.name), {name.replace("_", "-"): value for name, _, value in options}
    return None


def tell(cloud: str, seconds: int, node: Mapping[str, str]) -> bool:
    """Whether Ray has taken the notice."""
    command = ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", f"{cloud} takes this spot machine away"]
    command += ["--deadline-remaining-seconds", str(seconds)]
    for option, known in (("--address", "gcs-address"), ("--node-id", "node-id")):
        if node.get(known):  # else Ray looks for it
            command += [option, node[known]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_TELL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("Ray could not be told: %s", error)
        return False
    if done.returncode:
        log.error("Ray could not be told: %s", (done.stderr or done.stdout).strip())
    return done.returncode == 0


def watch(cloud: str, service: str, every: float) -> int:
    """Until Ray ends; the exit code."""
    started = time.monotonic()
    while (found := ray_node()) is None:
        if time.monotonic() - started > SECONDS_TO_START:
            log.error("no Ray on this machine within %.0f s", SECONDS_TO_START)
            return 1
        time.sleep(min(every, 1.0))
    process, node = found
    log.info("asking %s for a notice every %g s", service, every)
    told, silent = False, False
    while (now := ray_node()) and now[0] == process:
        if not told:
            try:
                seconds = CLOUDS[cloud](service)
            except (OSError, ValueError, KeyError) as error:
                if not silent:
                    log.warning("no answer of %s that makes sense (%r); asking on", service, error)
                silent = True
            else:
                silent = False
                if seconds is not None:
                    log.info("this machine will be taken away within %d s", seconds)
                    told = tell(cloud, max(seconds, SECONDS_OF_A_CHECKPOINT), node)
        time.sleep(every)
    log.info("Ray has ended")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cloud", choices=sorted(CLOUDS))
    parser.add_argument("--service", default=SERVICE, help="address of the metadata service")
    parser.add_argument("--every", type=float, help="seconds between two questions")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s spot_notice: %(message)s", level=logging.INFO, stream=sys.stderr)
    os.chdir("/")  # a folder that is unmounted later must not be held
    return watch(given.cloud, given.service, given.every or EVERY[given.cloud])


if __name__ == "__main__":
    sys.exit(main())
