import pytest

from cellrim.models import precision
from cellrim.models.precision import fast_at_int8


@pytest.fixture(autouse=True)
def _forget():
    fast_at_int8.cache_clear()
    yield
    fast_at_int8.cache_clear()


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("flags : fpu sse4_2 avx2 avx512f", False),
        ("flags : fpu avx2 avx512f avx512_vnni", True),
        ("flags : fpu avx2 avx_vnni", True),
        ("Features : fp asimd asimddp", True),
        ("Features : fp asimd", False),
    ],
)
def test_what_the_kernel_says(flags, fast, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(precision, "_CPUINFO", path)
    assert fast_at_int8() is fast


@pytest.mark.parametrize(
    ("system", "machine", "numpy_knows", "fast"),
    [
        ("Darwin", "arm64", False, True),
        ("Darwin", "x86_64", False, False),
        ("Windows", "AMD64", True, True),
        ("Windows", "AMD64", False, False),
    ],
)
def test_without_that_file(system, machine, numpy_knows, fast, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(precision, "_numpy_knows", lambda: numpy_knows)
    monkeypatch.setattr(precision.platform, "system", lambda: system)
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    assert fast_at_int8() is fast


def test_numpy_is_asked_without_trouble():
    assert precision._numpy_knows() in (True, False)
