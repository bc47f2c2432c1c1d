"""Compare the documentation with the code: settings, keys, metrics, rooms, paths, version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest

from feedsvc.metrics import Metrics
from feedsvc.settings import PREFIX, Settings
from feedsvc.store.redis import keys
from feedsvc.version import __version__

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("docs/**/*.md"),
    ]
)
SCRIPTS = sorted((ROOT / "feedsvc/store/redis/lua").glob("*.lua"))
# The pages name a file by its path from one of these folders. The changelog speaks of the past.
BASES = ("", "feedsvc", "feedsvc/store/redis/lua")


def text(path):
    return (ROOT / path).read_text()


def diagram(name):
    """Return the text of one diagram of the architecture page."""
    return re.search(rf"```{name}\n(.*?)```", text("docs/architecture.md"), re.DOTALL)[1]


def rooms(diagram):
    return re.findall(r"(?<![\w/])\w+(?:/|\.py)(?!\w)", diagram)


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
        name = metric.name if metric.type == "gauge" else f"{metric.name}_total"
        assert f"| `{name}` |" in text("docs/metrics.md")


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


def test_the_make_commands_of_the_readme_and_the_contributors_page_exist():
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    named = set(
        re.findall(
            r"(?:`|^)make ([a-z]+)", text("README.md") + text("CONTRIBUTING.md"), re.MULTILINE
        )
    )
    assert {"run", "test", "check"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_to_a_file_and_a_heading(page):
    for target, _, anchor in re.findall(r"\]\((?!http)([^)#]*)(#([^)]+))?\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text()), f"{target}#{anchor}"


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    if page.name == "CHANGELOG.md":
        return
    named = re.findall(r"`([\w./-]+\.(?:py|lua|js|md|svg|toml|txt))`", page.read_text())
    missing = {
        name
        for name in named
        if not any((base / name).exists() for base in (page.parent, *(ROOT / b for b in BASES)))
    }
    assert missing == set()


def test_every_function_that_a_page_names_is_in_its_file():
    named = {
        pair for page in PAGES for pair in re.findall(r"`([\w/]+\.py)`\s+`(\w+)`", page.read_text())
    }
    assert named
    missing = [
        f"{path} {name}"
        for path, name in sorted(named)
        if not re.search(rf"^(def|class) {name}\b", text(f"feedsvc/{path}"), re.MULTILINE)
    ]
    assert missing == []


def test_the_diagram_of_the_rooms_has_every_folder_and_module_once():
    drawn = rooms(diagram("rooms"))
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "feedsvc").iterdir()
        if (path.is_dir() or path.suffix == ".py") and not path.name.startswith("__")
    }
    assert sorted(drawn) == sorted(there)


def test_the_diagram_of_the_rooms_is_the_checked_order_of_the_layers():
    layers = tomllib.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    checked = [name.split(".")[1] for layer in layers for name in layer.split(" | ")]
    drawn = [re.sub(r"/|\.py", "", room) for room in rooms(diagram("rooms"))]
    assert drawn == checked


def test_the_diagram_of_a_posts_life_names_rooms_of_the_repository():
    assert set(rooms(diagram("life"))) <= set(rooms(diagram("rooms")))


def test_the_version_is_the_same_everywhere():
    assert version("feedsvc") == __version__
    assert f"## {__version__}" in text("CHANGELOG.md")


def test_the_files_that_the_builds_script_names_exist():
    named = re.findall(r"tests/\w+\.py", text(".ci/run"))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_file_names_a_place_on_somebodys_machine():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".lua", ".txt", ".html"} and path.is_file():
            private = r"(?<![\w.])/(home|root|Users|work|opt(?!/feedsvc))/"
            assert not re.search(private, path.read_text()), name
