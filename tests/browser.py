"""A real, headless Chromium on the served application: real stores, a real server on a free port.

Chromium comes from the system. If it is missing, tests skip on a developer's machine and fail in
CI. A test fails if a page logs an error, breaks its content policy, or has a script that fails.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from feedsvc.console.session import one_time_link

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
PHONE, DESK = (375, 812), (1440, 900)
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# No answer of the service takes 20 s; a browser on a busy machine may.
_DEADLINE_MS = 20_000


@contextmanager
def chromium():
    """Start the browser."""
    path = shutil.which("chromium")
    if path is None:
        assert not os.environ.get("CI"), "Chromium is missing: apt-get install chromium"
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield started
        started.close()


@contextmanager
def served(app):
    """Serve the application with threads, and yield its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    # Closing the server waits for the requests in progress, and so for their connections.
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Visit:
    """One person at the console, in a window of one size and colour scheme."""

    def __init__(self, browser, app, url, size=DESK, scheme="light"):
        self.app, self.url, self.scheme, self.width = app, url, scheme, size[0]
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(_DEADLINE_MS)
        self.faults = []
        self.page.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def sign_in(self, scopes=("admin:read", "admin:write")):
        """Sign in by the link that `up --demo` and `feedsvc console` print."""
        self.page.goto(one_time_link(self.app.extensions["feedsvc"].stores, self.url, 1, scopes))
        self.page.wait_for_url(re.compile("/console/$"))
        return self.page

    def screenshot(self, name):
        """Save a picture of the page. CI stores the folder."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(
            path=SCREENSHOTS / f"{name}-{self.width}-{self.scheme}.png", full_page=True
        )

    def assert_readable(self):
        """Assert that the page fits the window and that axe finds no fault.

        axe checks WCAG 2.2, levels A and AA: contrast, names, roles, order.
        """
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.width
        found = Axe().run(
            self.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
        )
        assert found.violations_count == 0, found.generate_report()

    def close(self):
        self.page.unroute_all(behavior="ignoreErrors")
        self.context.close()
        # The library may leave an object open. Its warning belongs to this test, not a later one.
        gc.collect()
        assert self.faults == []
