"""What a run has to say at its end: versions of peers, tables of counts. tests/conftest.py prints it."""

import pytest

_WORDS = pytest.StashKey[dict[str, list[str]]]()


def say_at_the_end(config: pytest.Config, title: str, lines: list[str]) -> None:
    """Have `lines` printed under `title` when all tests are done; a title said again replaces what it said before."""
    config.stash.setdefault(_WORDS, {})[title] = lines


def words(config: pytest.Config) -> dict[str, list[str]]:
    """Return all that is to be said."""
    return config.stash.get(_WORDS, {})
