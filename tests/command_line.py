"""Run the command line within the tests' own process."""

from __future__ import annotations

from crackseg.cli import main


def exit_code() -> int:
    """Run the command that stands in ``sys.argv`` and return its exit code."""
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
