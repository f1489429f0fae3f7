"""A PostgreSQL server of this machine's installation, on loopback, from an empty folder, with a password of its own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tracked_runs import free_port

INSTALLATIONS = Path("/usr/lib/postgresql")  # of Debian and Ubuntu, not on the PATH
SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB")


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL, or None."""
    beside = sorted(INSTALLATIONS.glob(f"*/bin/{name}"), key=lambda file: float(file.parent.parent.name))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


def installed() -> bool:
    return all(map(program, ("initdb", "pg_ctl", "postgres")))


class Postgres:
    """Runs until `close`; `stop` and `start` in between lose nothing. As root, it runs as `nobody`: it refuses root."""

    def __init__(self) -> None:
        self.password = secrets.token_hex(16)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="eqbench-postgres-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        given = self.folder / "password"
        given.write_text(self.password)
        given.chmod(0o644)
        options = ["--no-sync", "--encoding=UTF8", "--locale=C", "--username=mlflow", f"--pwfile={given}"]
        self._do("initdb", "--auth=scram-sha-256", *options)
        given.unlink()
        self.start()

    @property
    def uri(self) -> str:
        """Of the database that always exists; without the name of the driver, SQLAlchemy 2.1 looks for another."""
        return f"postgresql+psycopg2://mlflow:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"port={self.port}"))
        self._do("pg_ctl", "start", "--wait", f"--log={self.folder / 'log'}", f"--options={settings}")

    def stop(self) -> None:
        """Cuts every connection, returns when it has ended."""
        self._do("pg_ctl", "stop", "--wait", "--mode=fast")

    def close(self) -> None:
        try:
            if (self.folder / "data" / "postmaster.pid").exists():
                self._do("pg_ctl", "stop", "--wait", "--mode=immediate")
        finally:
            shutil.rmtree(self.folder)

    def _do(self, name: str, *words: str) -> None:
        command = [program(name) or name, *words, f"--pgdata={self.folder / 'data'}"]
        with (self.folder / "said").open("w+") as said:  # a pipe would stay open with the server
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.folder, check=False, **self._user
            )
            said.seek(0)
            assert done.returncode == 0, said.read()
