"""A real server in its own processes: made, started, killed and started again, as an operator would."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

READY_SECONDS = 20.0


class LiveServer:
    """One home under `root`, its root key outside of it, its log in `root/server.log`."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.home = root / "home"
        self.log = root / "server.log"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(root), "XDG_CONFIG_HOME": str(root / "config"), "TMPDIR": str(root / "tmp"),
            "LEADGLASS_HOME": str(self.home), "LANG": "C.UTF-8", "TZ": os.environ.get("TZ", "UTC"), "COLUMNS": "200",
            **{f"LEADGLASS_{name.upper()}": str(value) for name, value in settings.items()},
        }
        (root / "tmp").mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}
        self.first = self.json("init", "--json")
        self.is_prepared = False

    # --- the command line ---------------------------------------------------------------------------------------
    def run(self, *arguments: str, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the operator."""
        result = subprocess.run(
            [sys.executable, "-m", "leadglass", *arguments], env=self.environment, capture_output=True, text=True,
            input=text, timeout=120, check=False, cwd=self.root,
        )
        if check and result.returncode:
            raise AssertionError(f"leadglass {arguments[0]}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def json(self, *arguments: str, text: str = "") -> Any:
        """Run a command and return the facts it prints."""
        return json.loads(self.run(*arguments, text=text).stdout)

    def inside(self, work: Any) -> Any:
        """Return what `work(house, connection)` gives, inside a write transaction of this home, in this process."""
        from leadglass.compose import Home
        from leadglass.settings import load

        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            with Home.open(load(self.home)).house() as house, house.database.write() as connection:
                return work(house, connection)
        finally:
            os.environ.clear()
            os.environ.update(before)

    # --- the server ---------------------------------------------------------------------------------------------
    def start(self, **settings: Any) -> float:
        """Start the server and return the seconds until it was ready."""
        assert self.process is None
        ready = self.home / "run" / "ready.json"
        ready.unlink(missing_ok=True)
        environment = self.environment | {f"LEADGLASS_{k.upper()}": str(v) for k, v in settings.items()}
        started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "leadglass", "serve", "--https-port", "0", "--dicom-port", "0", "--dicom-tls-port", "0"],
                env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.root, start_new_session=True,
            )
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() - started > READY_SECONDS:
                raise AssertionError("the server did not start:\n" + self.log.read_text()[-4000:])
            time.sleep(0.005)
        self.ready = json.loads(ready.read_text())
        return time.monotonic() - started

    def stop(self) -> int:
        """Stop as systemd would; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(40)
        self.process = None
        return code

    def kill(self) -> None:
        """kill -9 of every process at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def processes(self) -> list[int]:
        """Return the ids of all processes of the server."""
        assert self.process is not None
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a thread that has just ended
                    todo += [int(p) for p in task.read_text().split()]
        return found

    def pss_bytes(self) -> int:
        """Return the proportional memory of all processes of the server."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a decode process that has just ended
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    # --- clients ------------------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        return str(self.ready["https"])

    @property
    def dicom_port(self) -> int:
        return int(self.ready["dicom"]["port"])

    @property
    def dicom_tls_port(self) -> int:
        return int(self.ready["dicom_tls"]["port"])

    def session(self, token: str = "") -> requests.Session:
        """Return an HTTP session that trusts the home's own CA and nothing else."""
        session = requests.Session()
        session.trust_env = False
        session.verify = self.ready["ca"]
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        return session

    def script(self, name: str = "script") -> requests.Session:
        """Return the session of a registered script with the service role."""
        known = {c["name"] for c in self.json("clients", "list", "--json")}
        if name not in known:
            self.run("clients", "add", name, "--role", "service", "--key", str(self.root / f"{name}.pem"))
        return self.session(self.run("clients", "token", name).stdout.strip())

    def ledger(self) -> list[dict[str, Any]]:
        """Return the ledger's records, newest first."""
        return self.json("audit", "search", "--limit", "5000", "--json")
