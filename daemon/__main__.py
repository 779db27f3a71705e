"""The command ``fusar``, with a short way to ``scan``: it does not wait for the other commands' imports."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command."""
    if sys.argv[1:2] == ["scan"]:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would spin beside the scan's
        from daemon import scan_command

        sys.exit(scan_command.main(sys.argv[2:]))
    from daemon import cli

    cli.main()


if __name__ == "__main__":
    main()
