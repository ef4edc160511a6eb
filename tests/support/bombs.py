"""Children of a test that die in the middle of their work: kill -9 before the n-th statement, or the n-th file removed."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from leadglass.compose.home import Home
from leadglass.settings import load


def in_child(home: Path, work: Callable[[Any], None]) -> int:
    """Fork, open the home, do `work` with its house; return the child's wait status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with Home.open(load(home)).house() as house:
                work(house)
            code = 0
        except BaseException as e:
            print(f"child: {type(e).__name__}: {e}", file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def die_before_statement(house: Any, number: int) -> None:
    """Kill this process before the `number`-th statement inside a write transaction, the commit counted as one."""
    seen = [0]

    def step(*_: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if connection.info.get("writes") or statement.startswith("BEGIN IMMEDIATE"):
            connection.info["writes"] = True
            step()

    def commit(connection: Any) -> None:
        if connection.info.pop("writes", False):
            step()

    sa.event.listen(house.database.engine, "before_cursor_execute", before)
    sa.event.listen(house.database.engine, "commit", commit)


def die_before_removal(number: int) -> None:
    """Kill this process before it removes its `number`-th file."""
    seen = [0]

    def hook(event: str, _: Any) -> None:
        if event == "os.remove":
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
