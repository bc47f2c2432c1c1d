"""Real Celery workers for tests, on the stores and the broker of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.engines import die_with_parent

ROOT = Path(__file__).parents[1]


def environment(settings):
    """Return the settings of `create_app` as environment variables."""
    return {
        **os.environ,
        **{f"FEEDSVC_{name.upper()}": str(value) for name, value in settings.items()},
    }


@contextmanager
def processes(settings, *roles):
    """Run processes in these roles (`worker NAME`, `beat`). Kill them at the end of the block."""
    started = [start(settings, *role.split()) for role in roles]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def start(settings, *role):
    part, *name = role
    return start_module(settings, "feedsvc", part, *(["--name", *name] if name else []))


def start_module(settings, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
