import platform
import subprocess
import sys

import pytest

from cellrim.core import memory

TOUCHED = 2**26
TOUCH = f"""
import resource
from cellrim.core.memory import keep_freed_memory
{{before}}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
begin = faults()
for _ in range({{times}}):
    bytes(bytearray({TOUCHED}))
print(faults() - begin)
"""

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")


def faults_of(before, *, times):
    code = TOUCH.format(before=before, times=times)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@glibc_only
def test_freed_memory_is_used_again():
    once, often = (faults_of("keep_freed_memory()", times=n) for n in (1, 5))
    assert often < 2 * once
    assert faults_of("", times=5) > 4 * faults_of("", times=1)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: object())
    assert memory.keep_freed_memory() is False
