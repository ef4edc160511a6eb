"""Nothing is shared by default; what a room's tests share lies in that room, or in tests/support."""

import pytest
from closing_words import say_at_the_end, words


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
