"""The supervisor: binds the ports, forks the workers, starts them again, stops them cleanly.

It holds no database and no thread, so that a fork is safe at any time. Workers are forked and not spawned: they share
the pages of the loaded program, which keeps the whole idle server small and its start short.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from leadglass.compose.home import Home
from leadglass.compose.workers import Sockets, run_chores, run_dimse_worker, run_web_worker

__all__ = ["Supervisor"]

_log = structlog.get_logger()
_GRACE_SECONDS = 25.0
_START_SECONDS = 30.0
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    name: str
    run: Callable[[int], None]  # gets the descriptor to write one byte to when ready
    pid: int = 0
    started: float = 0.0


class Supervisor:
    """One server. `run` returns the process's exit code."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._settings = home.settings
        self._children: list[_Child] = []
        self._is_stopping = False

    def run(self, *, say: Callable[[str], None] = print) -> int:
        """Serve until SIGTERM or SIGINT. Raises: OSError, when a port is taken."""
        s = self._settings
        s.run_dir.mkdir(mode=0o700, exist_ok=True)
        ready = s.run_dir / "ready.json"
        ready.unlink(missing_ok=True)
        sockets = self._bind()
        self._home = self._home.with_ports(
            https=sockets.https.getsockname()[1], dicom=sockets.dicom.getsockname()[1],
            dicom_tls=sockets.dicom_tls.getsockname()[1])
        certificates = self._home.renew_certificates()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        self._children = [
            *[_Child(f"web-{i}", lambda fd: run_web_worker(self._home, sockets, certificates, fd))
              for i in range(s.web_workers)],
            *[_Child(f"dimse-{i}", lambda fd: run_dimse_worker(self._home, sockets, certificates, fd))
              for i in range(s.dimse_workers)],
            _Child("chores", lambda fd: run_chores(self._home, fd)),
        ]
        receiving, sending = os.pipe()
        for child in self._children:
            self._start(child, sending)
        if not self._await_ready(receiving):
            say("Leadglass did not start: see the log lines above.")
            self._end_children()
            return 1
        url = f"https://{s.hostname}:{sockets.https.getsockname()[1]}"
        facts = {
            "https": url,
            "dicom": {"port": sockets.dicom.getsockname()[1], "ae_title": s.ae_title},
            "dicom_tls": {"port": sockets.dicom_tls.getsockname()[1], "ae_title": s.ae_title},
            "ca": str(certificates.web_ca_path),
            "pid": os.getpid(),
        }
        new = ready.with_suffix(".new")
        new.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        new.replace(ready)
        _notify_systemd("READY=1")
        say(f"Leadglass is ready: {url}  DICOM {s.ae_title} on port {facts['dicom']['port']}  (Ctrl-C stops)")  # type: ignore[index]
        self._watch(sending)
        ready.unlink(missing_ok=True)
        self._end_children()
        return 0

    def _bind(self) -> Sockets:
        s = self._settings
        https = socket.socket(socket.AF_INET6 if ":" in s.bind else socket.AF_INET)
        https.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        https.bind((s.bind, s.https_port))
        return Sockets(https, _listen(s.bind, s.dicom_port), _listen(s.bind, s.dicom_tls_port))

    def _start(self, child: _Child, ready_fd: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            child.pid, child.started = pid, time.monotonic()
            return
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor passes on one clean SIGTERM
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() == parent:
                child.run(ready_fd)
                code = 0
        except BaseException as e:  # noqa: BLE001 - the end of a process: say why, then leave
            _log.error("worker_failed", worker=child.name, error=type(e).__name__, exc_info=True)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _await_ready(self, receiving: int) -> bool:
        os.set_blocking(receiving, False)
        missing = len(self._children)
        deadline = time.monotonic() + _START_SECONDS
        while missing and time.monotonic() < deadline and not self._is_stopping:
            with contextlib.suppress(BlockingIOError):
                missing -= len(os.read(receiving, missing))
            for child in self._children:
                if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
                    child.pid = 0
                    return False
            time.sleep(0.01)
        return missing == 0

    def _watch(self, ready_fd: int) -> None:
        """Wait for signals; start again what has died, at most once a second each."""
        while not self._is_stopping:
            time.sleep(0.2)
            for child in self._children:
                if not os.waitpid(child.pid, os.WNOHANG)[0] or self._is_stopping:
                    continue
                _log.error("worker_died", worker=child.name, pid=child.pid)
                time.sleep(max(0.0, 1.0 - (time.monotonic() - child.started)))
                self._start(child, ready_fd)

    def _stop(self, *_: object) -> None:
        self._is_stopping = True

    def _end_children(self) -> None:
        _notify_systemd("STOPPING=1")
        for child in self._children:
            _signal(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        alive = [c for c in self._children if c.pid]
        while alive and time.monotonic() < deadline:
            alive = [c for c in alive if not _is_gone(c.pid)]
            time.sleep(0.02)
        for child in alive:
            _log.warning("worker_killed", worker=child.name)
            _signal(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def _is_gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _signal(pid: int, signum: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def _listen(bind: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((bind, port))
    listening.listen(256)
    return listening


def _notify_systemd(state: str) -> None:
    """Tell systemd, where it asked. Ref: sd_notify(3)."""
    from leadglass.settings import notify_socket

    address = notify_socket()
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
