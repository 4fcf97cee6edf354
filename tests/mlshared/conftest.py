"""Modules that the tests of this folder import by name: `entries`."""

import importlib.util
import sys
from pathlib import Path

from hypothesis import settings

# A busy machine is no finding.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

for name in ("entries",):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
