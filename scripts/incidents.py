#!/usr/bin/env python3
"""Stages twelve incidents on a server, and takes a picture of where a person would look: docs/ui/incidents.

    scripts/incidents.py [NAME...]

NAME: some of them, as integration-tests/harness/incidents.py has them. With Pillow installed the pictures have 256 colours, and
are a third as large. The binary is TACTUS_BIN, else target/debug/tactus."""
import pathlib
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "integration-tests"))
from harness.browser import Visit, chromium  # noqa: E402
from harness.incidents import CONFIG, INCIDENTS, push  # noqa: E402
from harness.looking import look_at  # noqa: E402
from harness.pictures import keep  # noqa: E402
from harness.server import Tactus  # noqa: E402


def main():
    folder = REPOSITORY / "docs/ui/incidents"
    folder.mkdir(exist_ok=True)
    wanted = [one for one in INCIDENTS if one.name in sys.argv[1:] or not sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="tactus-") as directory, chromium() as browser:
        server = Tactus(directory, config=CONFIG).start()
        try:
            pushed = [(incident, push(server, incident)) for incident in wanted]
            # Recent spans are counted from segments.
            time.sleep(3)
            for incident, wrong in pushed:
                visit = Visit(browser, server.url, viewport={"width": 1280, "height": 800})
                page = look_at(visit, incident, wrong)
                page.wait_for_timeout(500)
                keep(page, folder / f"{incident.name}.png", full_page=True)
                visit.check()
                visit.close()
                print(incident.name, flush=True)
        finally:
            server.close()


if __name__ == "__main__":
    main()
