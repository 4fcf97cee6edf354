"""Modules of this folder import each other by their plain names, as the command does that is one of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
