"""Where the `trainer` command begins: is the `trainer` that would be imported ours, and complete?

PyPI has another `trainer` (and ``coqui-tts-trainer`` installs the same import name); installed after this
one it overwrites it silently. So the command looks before it goes on, and names what is in the way. This is
the one place in `mlshared` that refers to `trainer`; nothing else here imports it.
"""

import importlib
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Final

_NEEDED: Final = ("typer", "rich", "sklearn", "pandas", "joblib", "skops")
_REINSTALL: Final = "pip install --force-reinstall --no-deps mlshared"


def main() -> None:
    """Run the command line, or say in one line why not and exit with 2."""
    problem = _problem()
    if problem is not None:
        sys.stderr.write(f"trainer: {problem}\n")
        raise SystemExit(2)
    raise SystemExit(importlib.import_module("trainer.cli").main())


def _problem() -> str | None:
    failure = None
    try:
        module = importlib.import_module("trainer")
        ours = getattr(module, "THIS_IS_MLSHARED", False) is True
    except Exception as error:  # noqa: BLE001 - a stranger's package may raise anything
        failure, ours = f"{type(error).__name__}: {error}", False
    if not ours and (intruder := _intruder()) is not None:
        return (
            f"the distribution {intruder!r} has overwritten mlshared's package trainer: "
            f"pip uninstall {intruder}, then {_REINSTALL}"
        )
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return f"needs {', '.join(missing)}: pip install 'mlshared[trainer]'"
    if not ours:
        return f"the package trainer is not mlshared's ({failure or 'no mark of it'}): {_REINSTALL}"
    return None


def _intruder() -> str | None:
    """Return the distribution, other than mlshared, that says it owns the import name."""
    owners = metadata.packages_distributions().get("trainer", [])
    return next((name for name in sorted(owners) if name != "mlshared"), None)


if __name__ == "__main__":
    main()
