from __future__ import annotations

import sys
from pathlib import Path

# They are scripts, and find each other beside themselves.
for folder in ("benchmarks", "scripts"):
    sys.path.insert(0, str(Path(__file__).parents[2] / folder))
