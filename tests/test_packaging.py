"""What an installation declares: packages, their lock, and the files that a wheel carries."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from feedsvc import celery_settings

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
TOOLS = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]


def pins(name):
    """Return the pinned versions of a lock and its number of hashes, by package."""
    lines = re.sub(r" *\\\n *", " ", (ROOT / name).read_text()).splitlines()
    return {
        canonicalize_name(line.split("==")[0]): (line.split("==")[1].split()[0], line)
        for line in lines
        if line and not line.startswith("#")
    }


@pytest.mark.parametrize(
    ("lock", "declared"),
    [("requirements.txt", RUNTIME), ("requirements-dev.txt", [*RUNTIME, *TOOLS])],
)
def test_a_lock_pins_each_declared_package_within_its_range_with_hashes(lock, declared):
    pinned = pins(lock)
    for requirement in declared:
        version, _ = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} in {lock}: run make lock"
    assert all("--hash=sha256:" in line for _, line in pinned.values())
    assert "://" not in (ROOT / lock).read_text(), "a lock names no host"


def test_both_locks_pin_the_same_versions():
    tools = pins("requirements-dev.txt")
    for name, (version, _) in pins("requirements.txt").items():
        assert tools[name][0] == version


def test_the_package_imports_only_what_it_declares():
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    owners = packages_distributions()
    for path in (ROOT / "feedsvc").rglob("*.py"):
        for module in imported(path) - set(sys.stdlib_module_names) - {"feedsvc"}:
            found = {canonicalize_name(name) for name in owners[module]}
            assert found & declared, f"{path} imports {module}"


def imported(path):
    """Return the top-level modules that a file imports absolutely."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) if not node.level]
    return {name.partition(".")[0] for name in names}


def test_the_settings_of_celery_do_not_come_from_the_current_folder(tmp_path):
    (tmp_path / "celeryconfig.py").write_text("raise SystemExit('of another project')")
    code = (
        "from feedsvc.metrics import Metrics; from feedsvc.tasks import make_celery; "
        "app = make_celery('memory://', None, Metrics()); "
        "print(app.conf.task_acks_late, app.conf.task_default_queue)"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "feedsvc.fanout"]


def test_the_file_at_the_top_has_the_settings_of_the_package():
    import celeryconfig

    for name, value in vars(celery_settings).items():
        if not name.startswith("_"):
            assert getattr(celeryconfig, name) is value
