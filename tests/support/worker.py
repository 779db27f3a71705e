"""A daemon in a process of its own, over tiny products: for tests that kill it.

Settings come from a JSON file, so that nothing of FUSAR_ need be set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from daemon import log
from daemon.app import Daemon
from daemon.config import LogSettings, Settings
from tests.support import tiny


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    log.configure(LogSettings())
    Daemon(Settings(**given["settings"]), tiny.process, tiny.VERSIONS, given["until_idle_s"]).run()


if __name__ == "__main__":
    main()
