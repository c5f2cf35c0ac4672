"""The form of the house: one folder a stage, tests that mirror them, files that can be read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow/lowrank"
STAGES = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists()}

LONGEST_MODULE, LONGEST_COMMON_RULES = 400, 80


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_module_is_longer_than_a_reader_can_hold():
    modules = sorted(LIBRARY.rglob("*.py"))
    assert len(modules) > 50
    long = {str(path.relative_to(LIBRARY)): lines(path) for path in modules}
    assert {path: count for path, count in long.items() if count > LONGEST_MODULE} == {}


def test_the_rules_common_to_all_stages_are_few():
    assert lines(ROOT / "workflow/rules/common.smk") <= LONGEST_COMMON_RULES


def test_the_tests_mirror_the_stages():
    folders = {path.name for path in (ROOT / "tests/unit").iterdir() if path.is_dir()}
    tested = {name for name in folders if any((ROOT / "tests/unit" / name).rglob("test_*.py"))}
    assert tested == STAGES


@pytest.mark.parametrize(
    "path", sorted(LIBRARY.glob("*/**/__init__.py")), ids=lambda p: p.parent.name
)
def test_a_package_itself_holds_documentation_only(path):
    """A rule's inputs leave these files out: code in one would change without a rerun."""
    (statement,) = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(statement, ast.Expr) and isinstance(statement.value.value, str)


def test_the_library_itself_only_says_what_follows_on_other_imports():
    """What it has registered shapes no result; it loads the module that watches, and no other."""
    _, *code = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8")).body
    imported = [node for node in code if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [node.module for node in imported] == ["lowrank.base.after_import"]
    calls = [node.func.id for part in code for node in ast.walk(part) if isinstance(node, ast.Call)]
    assert set(calls) == {"after_import"}
