"""What is not documented fails the build."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from feedsvc.metrics import Metrics
from feedsvc.settings import PREFIX, Settings
from feedsvc.store.redis import keys

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "feedsvc/store/redis/lua").glob("*.lua"))


def text(path):
    return (ROOT / path).read_text()


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_every_setting_is_documented(name):
    assert f"| `{PREFIX}{name.upper()}` |" in text("docs/settings.md")


def test_every_key_is_documented():
    for name in re.findall(r'"([a-z-]+):', text("feedsvc/store/redis/keys.py")):
        assert re.search(
            rf"^\| `{name}(:\d+|:<\w+>)?` \|", text("docs/redis-keys.md"), re.MULTILINE
        ), name
    for name, key in vars(keys).items():
        if name.isupper() and isinstance(key, str):
            assert f"| `{key}` |" in text("docs/redis-keys.md"), name


def test_keys_are_spelled_in_one_module():
    for path in (ROOT / "feedsvc").rglob("*.py"):
        if path.name != "keys.py":
            assert not re.search(
                r'f"(homefeed|celebrity-posts|relations|post|fanout):', path.read_text()
            ), path


def test_every_metric_is_documented():
    for metric in Metrics().registry.collect():
        assert f"| `{metric.name}_total` |" in text("docs/metrics.md")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_opens_with_its_keys_arguments_result_and_invariant(script):
    header = "".join(
        line for line in script.read_text().splitlines(keepends=True) if line.startswith("--")
    )
    assert script.read_text().startswith("--")
    assert [
        word
        for word in ("KEYS", "ARGV", "Returns", "Invariant")
        if f"\n-- {word}" not in f"\n{header}"
    ] == []


def test_every_operation_is_in_the_openapi_document(client):
    document = client.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith("/v1/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert described == served
    assert all(
        "401" in operation["responses"]
        for methods in document["paths"].values()
        for operation in methods.values()
    )


def test_the_readmes_commands_exist():
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", text("README.md")))
    assert {"run", "test"} <= named <= targets


def test_links_between_documents_lead_somewhere():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_no_file_names_a_place_on_somebodys_machine():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".lua", ".txt", ".html"} and path.is_file():
            assert not re.search(r"(?<![\w.])/(home|root|Users|work|opt)/", path.read_text()), name
