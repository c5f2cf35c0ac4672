"""Call a function when a module is imported, whoever imports it: nothing is imported now."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # everything imports this module: it loads nothing that can be done without
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def after_import(module: str, function: str) -> None:
    """Call a function once, right after a module is imported; at once if it is already.

    Parameters
    ----------
    module
        The module's full name.
    function
        `module:function`, imported when it is called.
    """
    if module in sys.modules:
        _call(function)
    else:
        sys.meta_path.insert(0, _Watch(module, function))


def _call(function: str) -> None:
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)()


class _Watch:
    """It finds one module, once, as the other finders do, and has its loader watched."""

    def __init__(self, module: str, function: str) -> None:
        self.module, self.function = module, function

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = next(
            (
                found
                for finder in sys.meta_path
                if (found := finder.find_spec(fullname, path, target)) is not None
            ),
            None,
        )
        if spec is not None and spec.loader is not None:
            spec.loader = _Watched(spec.loader, self.function)
        return spec


class _Watched:
    """A loader that gives its place back to the one it stands for, and calls the function."""

    def __init__(self, loader: Any, function: str) -> None:
        self.loader, self.function = loader, function

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _call(self.function)
