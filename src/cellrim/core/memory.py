"""How this process gets its memory from the system."""

from __future__ import annotations

import ctypes
from mmap import PAGESIZE
from typing import Any

# Numbers of the options in glibc's malloc.h, and what they are set to. Larger blocks than the
# first come from the system and go back to it one by one; of free memory at the end of the heap
# more than the second goes back, too.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST = 2**30
# What a tile of the largest size and its image need; only what is touched is there.
_POOL = 2**29
_HUGE_PAGES = 14  # MADV_HUGEPAGE of Linux


def pool_memory() -> bool:
    """Take memory from the system in huge pages, and use again what was freed.

    The system hands out memory in pages of 4 kB, empty, when they are touched first. Images, maps
    and labels come and go in blocks of many megabytes, each of which begins with that by the usual
    settings of the GNU C library: a tenth of the time a CPU spends on an image. For processes of
    our own alone, and none that waits for hours.

    Returns
    -------
    bool
        Whether freed memory is kept now: with other C libraries nothing is changed. Pages are as
        large as the system likes.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):  # no such function; on Windows no such library
        return False
    kept = [mallopt(option, _LARGEST) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)]
    if all(kept):
        _advise_huge_pages(libc)
    return all(kept)


def _advise_huge_pages(libc: Any) -> None:
    """Grow the heap by the pool and ask for huge pages there; refused where memory is limited."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    begin = libc.malloc(_POOL)
    if begin is None:
        return
    aligned = -(-begin // PAGESIZE) * PAGESIZE
    whole = (begin + _POOL - aligned) // PAGESIZE * PAGESIZE
    libc.madvise(aligned, whole, _HUGE_PAGES)
    libc.free(begin)
