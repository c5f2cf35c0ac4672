"""What imports what: the files that a script is made of, and the floors of the library."""

from __future__ import annotations

import ast
import functools
import tomllib
from pathlib import Path

import grimp

PACKAGE = "lowrank"


@functools.cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


@functools.cache
def library_files(root: str | Path, script: str | Path, *modules: str) -> tuple[str, ...]:
    """Return the files of the library modules that a script imports, directly or not.

    Parameters
    ----------
    root
        The folder that holds the package; it must be on `sys.path`.
    script
        A script; its imports of `lowrank` are read from its syntax tree, wherever they stand.
    *modules
        Modules that it imports by their names, which its syntax tree does not show.

    Returns
    -------
    Sorted paths below `root`. Packages' `__init__.py` files hold documentation only and are left
    out. If a module of `modules` does not exist, its file is listed, so that Snakemake names it.
    """
    graph = _graph()
    found = set(modules)
    for module in _direct_imports(Path(script), graph.modules) | (found & graph.modules):
        found |= {module} | graph.find_upstream_modules(module)
    paths = {module: Path(root, *module.split(".")).with_suffix(".py") for module in sorted(found)}
    return tuple(str(path) for name, path in paths.items() if path.is_file() or name in modules)


def package_imports() -> dict[str, set[str]]:
    """Return the packages of the library, each with those that its modules import."""
    graph = _graph()
    made: dict[str, set[str]] = {
        name.rpartition(".")[2]: set() for name in graph.find_children(PACKAGE)
    }
    for importer in graph.modules - {PACKAGE}:
        package = importer.split(".")[1]
        for imported in graph.find_modules_directly_imported_by(importer):
            made[package] |= set(imported.split(".")[1:2]) - {package}
    return made


def drawing(contract: str | Path) -> str:
    """Return a line for each package: its floor, its name and the packages that it imports.

    Parameters
    ----------
    contract
        The `pyproject.toml` that names the floors, the top one first.
    """
    tables = tomllib.loads(Path(contract).read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [table["layers"] for table in tables["contracts"] if table["id"] == "layers"]
    floors = {
        package: floor
        for floor, packages in enumerate(reversed(layers), start=1)
        for package in packages.split(" | ")
    }
    from_the_top = sorted(floors, key=lambda package: (-floors[package], package))
    imports = package_imports()
    rows = ["floor  package    imports"]
    for package in from_the_top:
        names = ", ".join(name for name in from_the_top if name in imports[package])
        rows.append(f"{floors[package]:>5}  {package:<9}  {names}".rstrip())
    return "\n".join(rows)


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
