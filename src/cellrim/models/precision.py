"""In which numbers the network computes, and which of them this processor is fast at."""

from __future__ import annotations

import platform
from functools import cache
from importlib import import_module
from pathlib import Path

from cellrim.errors import UsageError

AUTO = "auto"
"""8-bit integers on a CPU that is fast at them, else float32."""

FLOAT32, INT8 = "float32", "int8"
PRECISIONS = (AUTO, FLOAT32, INT8)

# Instructions that multiply and add four pairs of 8-bit integers at once, by the kernel's names:
# VNNI of x86, with and without AVX-512, and the dot product of ARM.
_CPUINFO = Path("/proc/cpuinfo")
_KERNEL_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
# The same by NumPy's names of feature sets, where there is no such file.
_NUMPY_FEATURES = ("AVX512_ICL", "AVX512_SPR", "ASIMDDP")


def check_precision(precision: str) -> None:
    """Check a precision that is asked for.

    Raises
    ------
    UsageError
        If there is no such.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"Expected the precision {', '.join(PRECISIONS)}, but got {precision!r}.")


@cache
def fast_at_int8() -> bool:
    """Whether this processor has instructions for 8-bit integers.

    Without them a twin in 8-bit integers gains little or nothing. A processor that is not known to
    have them counts as one without.
    """
    try:
        text = _CPUINFO.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return _numpy_knows() or (platform.system(), platform.machine()) == ("Darwin", "arm64")
    return not _KERNEL_FLAGS.isdisjoint(text.split())


def _numpy_knows() -> bool:
    try:
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):  # NumPy 1, or a later one that keeps it elsewhere
        return False
    return any(features.get(name, False) for name in _NUMPY_FEATURES)
