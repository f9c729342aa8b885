"""The command ``warmheap``: ``python -m warmheap --help``."""

from __future__ import annotations

import signal
import sys

from . import _native


def main() -> int:
    """Runs the command with the program's arguments, and returns its exit code."""
    # The command is no Python code, so Ctrl-C ends the process as it ends any other command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native._command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
