"""What the doctor does on each node of a cluster. Sent there as code: a node may have another eqbench, or none.

Every function answers in plain data and raises nothing.
"""

from __future__ import annotations

from typing import Any

SEARCH = "/api/2.0/mlflow/experiments/search"
"""What a run asks of an MLflow server too; `/health` answers whatever the host's name, and without a password."""
MADE = ".made"
PACKAGES = ("ray", "torch", "torchvision", "mlflow", "onedl-mmdetection", "onedl-mmcv")


def describe(tracking_server: str | None) -> dict[str, Any]:
    """Versions, GPUs as torch sees them, and why the MLflow server does not answer from here (empty: it does)."""
    import platform

    versions = {"python": platform.python_version(), **package_versions()}
    return {"versions": versions, **gpus(), "mlflow": "" if tracking_server is None else why_silent(tracking_server)}


def package_versions() -> dict[str, str | None]:
    """Of eqbench, with the first digits of its code's SHA-256, and of what it is built on; None: not installed."""
    import hashlib
    import importlib.util
    from importlib import metadata
    from pathlib import Path

    versions: dict[str, str | None] = {"eqbench": None}
    found = importlib.util.find_spec("eqbench")
    if found and found.origin:
        folder = Path(found.origin).parent
        code = hashlib.sha256()
        for file in sorted(folder.rglob("*.py")):
            code.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
        try:
            version = metadata.version("eqbench")
        except metadata.PackageNotFoundError:
            version = "not installed but importable"
        versions["eqbench"] = f"{version} (code {code.hexdigest()[:8]})"
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def gpus() -> dict[str, Any]:
    """`gpus`: names of those that torch can use; `cuda`: what it was built for; `torch_error`: why it cannot tell."""
    import os

    if not os.environ.get("CUDA_VISIBLE_DEVICES"):  # Ray hides GPUs from a task that asks for none
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    except Exception as error:
        return {"gpus": [], "cuda": None, "torch_error": f"{type(error).__name__}: {error}"}
    return {"gpus": names, "cuda": torch.version.cuda, "torch_error": ""}


def why_silent(tracking_server: str) -> str:
    """Why an MLflow server does not answer; empty if it does. An answer that asks for a password is one.

    One that refuses the name it is called by, as MLflow does unless it is told its names, is none.
    """
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{tracking_server.rstrip('/')}{SEARCH}?max_results=1", timeout=10):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(200).decode(errors="replace")
        if error.code == 403 and "Host header" in said:
            return f"HTTP 403: {said.strip()}"
        return "" if error.code in (401, 403) else f"HTTP {error.code} {error.reason}{by_proxy(tracking_server)}"
    except Exception as error:
        return f"{getattr(error, 'reason', error)}{by_proxy(tracking_server)}"


def proxy_of(url: str) -> str:
    """The proxy that the environment has for questions to a URL, as it is named there; empty if there is none."""
    import urllib.parse
    import urllib.request

    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return urllib.request.getproxies().get(parts.scheme, "")


def by_proxy(url: str) -> str:
    """For messages: through which proxy a URL is asked, without the proxy's password, and how it is asked without."""
    import urllib.parse

    proxy, host = proxy_of(url).rpartition("@")[2], urllib.parse.urlsplit(url).hostname
    return f"; asked through the proxy {proxy}, no_proxy={host} avoids it" if proxy else ""


def clock() -> float:
    """Seconds since 1970."""
    import time

    return time.time()


def write_mark(storage: str, folder: str, name: str) -> str:
    """Write a small file into a folder of the storage; why it cannot be written, or nothing."""
    try:
        if "://" in storage:
            from eqbench.storage.remote import Remote

            Remote.of(storage).write(f"{folder}/{name}", name.encode())
        else:
            from pathlib import Path

            above = Path(storage)
            made = sum(not each.exists() for each in (above, *above.parents))
            place = above / folder
            place.mkdir(parents=True, exist_ok=True)
            if made:
                (place / MADE).write_text(str(made))
            (place / name).write_text(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def unread_marks(storage: str, folder: str, names: list[str]) -> list[str]:
    """Which of the files that nodes have written are not to be read here; a network's file system may take seconds."""
    import time
    from pathlib import Path

    def readable(name: str) -> bool:
        try:
            if "://" not in storage:
                return (Path(storage) / folder / name).read_text() == name
            from eqbench.storage.remote import Remote

            return Remote.of(storage).read(f"{folder}/{name}") == name.encode()
        except Exception:
            return False

    deadline = time.monotonic() + 10
    while (left := [name for name in names if not readable(name)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def remove_marks(storage: str, folder: str) -> None:
    """Remove the folder of the marks, and folders above it that were made for it: a share may be mounted there."""
    try:
        if "://" in storage:
            from eqbench.storage.remote import Remote

            Remote.of(storage).delete_folder(folder)
        else:
            import shutil
            from pathlib import Path

            above = Path(storage)
            note = above / folder / MADE
            made = int(note.read_text()) if note.exists() else 0
            shutil.rmtree(above / folder, ignore_errors=True)
            for each in (above, *above.parents)[:made]:
                each.rmdir()
    except Exception:
        return
