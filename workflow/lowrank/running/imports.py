"""Which files of the library a script is made of, from its import statements."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import grimp

PACKAGE = "lowrank"


@functools.cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


def library_files(root: str | Path, script: str | Path) -> list[str]:
    """Return the files of the library modules that a script imports, directly or not.

    Parameters
    ----------
    root
        The folder that holds the package; it must be on `sys.path`.
    script
        A script; its imports of `lowrank` are read from its syntax tree, wherever they stand.

    Returns
    -------
    Sorted paths below `root`. Packages' `__init__.py` files hold documentation only and are left
    out.
    """
    graph = _graph()
    found: set[str] = set()
    for module in _direct_imports(Path(script), graph.modules):
        found |= {module} | graph.find_upstream_modules(module)
    files = []
    for module in sorted(found):
        path = Path(root, *module.split(".")).with_suffix(".py")
        if path.is_file():
            files.append(str(path))
    return files


def _direct_imports(script: Path, modules: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name for name in names if name in modules}
    return found
