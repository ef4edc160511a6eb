"""Each name in an `__all__` exists, once, in order."""

import importlib
import pkgutil

import pytest

import leadglass

MODULES = sorted(
    m.name for m in pkgutil.walk_packages(leadglass.__path__, "leadglass.")
    if not m.name.startswith("leadglass.storage.migrations") and m.name != "leadglass.__main__"
    and not m.name.endswith(("decode_worker",))
)


@pytest.mark.parametrize("name", MODULES)
def test_exports_exist(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    assert not [e for e in exported if not hasattr(module, e)]
