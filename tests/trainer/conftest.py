"""Modules that the tests of this folder import by name: `interleave`."""

import importlib.util
import sys
from pathlib import Path

for name in ("interleave",):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
