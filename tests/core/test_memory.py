import platform
import subprocess
import sys
from mmap import PAGESIZE
from pathlib import Path

import pytest

from cellrim.core import memory

TOUCHED = 2**26
TOUCH = f"""
import resource
from cellrim.core.memory import pool_memory
{{before}}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
begin = faults()
for _ in range({{times}}):
    bytes(bytearray({TOUCHED}))
print(faults() - begin)
"""
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")


def faults_of(before, *, times):
    code = TOUCH.format(before=before, times=times)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@glibc_only
def test_freed_memory_is_used_again():
    once, often = (faults_of("pool_memory()", times=n) for n in (1, 5))
    assert often < 2 * once
    assert faults_of("", times=5) > 4 * faults_of("", times=1)


@glibc_only
@pytest.mark.skipif(not HUGE.is_file() or "[never]" in HUGE.read_text(), reason="needs huge pages")
def test_memory_comes_in_huge_pages():
    assert faults_of("pool_memory()", times=1) < TOUCHED / PAGESIZE / 8


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: object())
    assert memory.pool_memory() is False


@glibc_only
def test_where_there_is_no_room_for_the_pool_memory_is_kept_all_the_same():
    none = "from cellrim.core import memory; memory._POOL = 2**60; assert pool_memory()"
    once, often = (faults_of(none, times=n) for n in (1, 5))
    assert often < 2 * once
