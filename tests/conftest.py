"""Nothing is shared by default; what a room's tests share lies in that room, or in tests/support."""

import contextlib
import sys

import pytest
import structlog
from closing_words import say_at_the_end, words


class _WhereTestsPrint:
    """The standard output of the moment. A server's thread may write its last line while pytest exchanges it."""

    def write(self, text: str) -> None:
        with contextlib.suppress(ValueError):  # the output of a test that has ended
            sys.stdout.write(text)

    def flush(self) -> None:
        with contextlib.suppress(ValueError):
            sys.stdout.flush()


structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=_WhereTestsPrint()))


def pytest_collection_finish(session: pytest.Session) -> None:
    """A run with real peers says at its end which versions they were."""
    if any(item.get_closest_marker("peer") for item in session.items) and not session.config.option.collectonly:
        from peer_versions import peer_versions

        say_at_the_end(session.config, "peers", [f"{name:24} {version}" for name, version in peer_versions().items()])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what tests have left to say."""
    for title, lines in words(config).items():
        terminalreporter.section(title, sep="-")
        for line in lines:
            terminalreporter.write_line(line)
