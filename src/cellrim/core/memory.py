"""How this process gets its memory from the system."""

from __future__ import annotations

import ctypes

# Numbers of the options in glibc's malloc.h, and what they are set to. Larger blocks than the
# first come from the system and go back to it one by one; of free memory at the end of the heap
# more than the second goes back, too.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Let this process use again what it has freed, instead of getting memory anew each time.

    The system hands out memory page by page and empty. Images, maps and labels come and go in
    blocks of many megabytes, each of which begins with that by the usual settings of the GNU C
    library. For processes of our own alone, and none that waits for hours.

    Returns
    -------
    bool
        Whether it is so now: with other C libraries nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; on Windows no such library
        return False
    done = [mallopt(option, _LARGEST) == 1 for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)]
    return all(done)
