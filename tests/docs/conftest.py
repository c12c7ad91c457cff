from __future__ import annotations

import sys
from pathlib import Path

# Tests of guides share how the code of one is found and run.
sys.path.insert(0, str(Path(__file__).parent))
