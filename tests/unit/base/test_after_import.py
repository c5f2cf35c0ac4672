"""A function that is called when somebody imports a module, and not before."""

import sys

import pytest
from lowrank.base.after_import import after_import


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Two modules: one that is waited for, and one with the function."""
    (tmp_path / "awaited_module.py").write_text("READY = True\n")
    (tmp_path / "calling_module.py").write_text(
        "import sys\n"
        "def call():\n"
        "    module = sys.modules['awaited_module']\n"
        "    module.called = getattr(module, 'called', 0) + module.READY\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    for name in ("awaited_module", "calling_module"):
        sys.modules.pop(name, None)


def test_it_is_called_once_the_module_is_whole(modules):
    after_import("awaited_module", "calling_module:call")
    assert "awaited_module" not in sys.modules and "calling_module" not in sys.modules
    import awaited_module

    assert awaited_module.called == 1
    assert awaited_module.__spec__.loader is awaited_module.__loader__
    assert type(awaited_module.__loader__).__name__ == "SourceFileLoader"


def test_it_is_called_at_once_if_the_module_is_there(modules):
    import awaited_module

    after_import("awaited_module", "calling_module:call")
    assert awaited_module.called == 1


def test_a_module_that_does_not_exist_stays_unknown(modules):
    after_import("no_such_module_at_all", "calling_module:call")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        import no_such_module_at_all  # noqa: F401
