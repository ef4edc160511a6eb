"""The operator's verbs. The command line is a subject (`local:<os user>`), recorded, and no way round the door.

Every command has --help with an example, --json where it prints facts, and exit code 0 only when it did what it says.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; turn the house's errors into one line that says what to do."""
    from leadglass.cli.app import app
    from leadglass.errors import LeadglassError

    try:
        app()
    except LeadglassError as e:
        print(f"leadglass: {e}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError) as e:
        print(f"leadglass: {e.filename}: {(e.strerror or 'cannot be opened').lower()}.", file=sys.stderr)
        sys.exit(1)
