"""What helps people carry on is there and true: hooks, forms, the changelog, the promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import llmasos
import yaml
from llmasos.contract import ENSEMBLE_INPUTS
from llmasos.contract.tensor import Support
from llmasos.engine.plan import PLAN_VERSION
from llmasos_builder.architectures.supported import SUPPORTED

from scripts.site_pages import PAGES, with_links_of_the_site

ROOT = Path(__file__).parents[1]
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
VERSION = re.compile(r"^## (\S+?)(?: - \d{4}-\d{2}-\d{2})?$", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_hooks_run_what_the_gate_runs() -> None:
    hooks = yaml.safe_load(page(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    gate = page("Makefile").partition("\ncheck:")[2].partition("\n\n")[0]
    commands = {hook["id"]: hook["entry"].split(" --")[0] for hook in hooks}
    assert set(commands) == {"ruff-format", "ruff-check", "typos"}
    assert not [command for command in commands.values() if command not in gate]


def test_issue_forms_have_what_github_wants_of_them() -> None:
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in FORMS.glob("*.yml")}
    assert set(forms) == {"bug", "checkpoint", "feature", "config"}
    kinds: dict[str, set[str]] = {
        "markdown": {"value"},
        "textarea": {"label"},
        "input": {"label"},
        "dropdown": {"label", "options"},
    }
    for name in set(forms) - {"config"}:
        form: dict[str, Any] = forms[name]
        assert form["name"], name
        assert form["description"], name
        fields = [item for item in form["body"] if item["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields) > 0
        assert any(field.get("validations", {}).get("required") for field in fields)
        for item in form["body"]:
            assert kinds[item["type"]] <= set(item["attributes"])


def test_the_changelog_begins_with_what_is_not_released_and_names_this_version() -> None:
    versions = VERSION.findall(page("CHANGELOG.md"))
    assert versions[0] == "Unreleased"
    assert llmasos.__version__ in versions
    assert versions[1:] == sorted(versions[1:], key=lambda v: [*map(int, v.split("."))])[::-1]


def test_security_fixes_go_into_this_version() -> None:
    minor = ".".join(llmasos.__version__.split(".")[:2])
    assert f"| {minor}.x | yes |" in page("SECURITY.md")


def test_the_promise_names_every_public_name_and_the_plans_that_are_read() -> None:
    promise = page("docs/compatibility.md")
    assert not [name for name in llmasos.__all__ if f"`{name}`" not in promise]
    assert f"this release reads version {PLAN_VERSION}." in promise


def test_what_the_page_on_limitations_says_is_refused_is_refused() -> None:
    marked = page("docs/limitations.md").partition("<!-- refused inputs: begin -->")[2]
    rows = marked.partition("<!-- refused inputs: end -->")[0].splitlines()
    named = set(re.findall(r"`(\w+)`", "".join(row.split("|")[2] for row in rows[3:] if row)))
    refused = {t.name for t in ENSEMBLE_INPUTS if t.support is Support.NEUTRAL_ONLY}
    assert len(named) >= 5
    assert not named - refused


def test_pages_of_the_root_link_on_the_site_to_pages_of_the_site() -> None:
    for name in PAGES:
        for target in re.findall(r"\]\((?!\w+:)([^)#]+)", with_links_of_the_site(name)):
            assert target in PAGES.values() or (ROOT / "docs" / target).is_file(), (name, target)


def test_every_decision_is_listed() -> None:
    pages = {path.name for path in (ROOT / "docs" / "decisions").glob("*.md")} - {"index.md"}
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", page("docs/decisions/index.md")))
    in_nav = set(re.findall(r"decisions/([\w-]+\.md)", page("mkdocs.yml"))) - {"index.md"}
    assert pages == listed == in_nav


def test_links_of_the_root_lead_to_files_and_headings() -> None:
    missing = set()
    for name in ("README.md", *PAGES):
        for path, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", page(name)):
            target = (ROOT / name).parent / path if path else ROOT / name
            if not target.exists() or (anchor and anchor not in headings(target)):
                missing.add((name, path, anchor))
    assert not missing


def headings(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_readme_counts_the_architectures() -> None:
    assert f"[{len(SUPPORTED)} decoder architectures]" in page("README.md")
