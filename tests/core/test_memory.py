import platform
import subprocess
import sys

import pytest

TOUCH = """
import resource
from cellrim.core.memory import keep_freed_memory
kept = {kept}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(4):
    bytes(bytearray(2**26))
print(faults() - before)
"""


def faults_of(kept):
    done = subprocess.run(
        [sys.executable, "-c", TOUCH.format(kept=kept)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_freed_memory_is_used_again():
    assert faults_of("keep_freed_memory()") < faults_of("None") / 2


def test_other_c_libraries_are_left_alone(monkeypatch):
    from cellrim.core import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: object())
    assert memory.keep_freed_memory() is False
