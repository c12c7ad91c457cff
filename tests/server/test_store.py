import shutil
import sqlite3
import time

import pytest

from cellrim.errors import OutputError
from cellrim.server.store import Outcome, Store
from cellrim.server.uploads import Upload


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "data")
    yield store
    store.close()


def add(store, count=2, size=10):
    folder = store.incoming()
    folder.mkdir(parents=True)
    uploads = []
    for number in range(count):
        path = folder / str(number)
        path.write_bytes(bytes(size))
        uploads.append(Upload(f"image {number}", path, size))
    return store.add(uploads, "{}")


def test_files_come_in_turn_and_finish_the_job(store):
    job = add(store)
    assert store.job(job).state == "queued"
    for number in range(2):
        row, file = store.next_file(frozenset())
        assert (row.id, row.state, file.number, file.attempts) == (job, "running", number, 1)
        assert store.input_path(job, number).read_bytes() == bytes(10)
        store.finish_file(job, number, Outcome(3, 20.5, "cpu", 0.1, size=7))
    assert store.next_file(frozenset()) is None
    row = store.job(job)
    assert (row.state, row.counts, row.size) == ("done", {"ok": 2}, 34)
    assert row.finished is not None


def test_busy_files_are_not_given_out_twice(store):
    job = add(store)
    assert store.next_file(frozenset({(job, 0)}))[1].number == 1
    assert store.next_file(frozenset({(job, 0), (job, 1)})) is None


def test_jobs_take_turns(store):
    jobs = [add(store), add(store)]
    order, busy = [], set()
    for _ in range(4):
        row, file = store.next_file(frozenset(busy))
        busy.add((row.id, file.number))
        order.append(row.id)
        time.sleep(0.002)
    assert order == jobs * 2


def test_a_result_that_comes_after_the_cancelling_changes_nothing(store):
    job = add(store)
    store.next_file(frozenset())
    assert store.cancel(job)
    store.finish_file(job, 0, Outcome(3))
    assert store.job(job).counts == {"cancelled": 2}
    assert not store.cancel(job)


def test_everything_is_there_after_another_start(tmp_path):
    first = Store(tmp_path)
    job = add(first, 3)
    first.next_file(frozenset())
    first.finish_file(job, 0, Outcome(error="broken"))
    first.next_file(frozenset())
    leftover = first.incoming()
    leftover.mkdir(parents=True)
    (tmp_path / "jobs" / "of-no-job").mkdir()
    first.close()
    second = Store(tmp_path)
    assert [file.state for file in second.files(job)] == ["failed", "waiting", "waiting"]
    assert second.files(job)[0].error == "broken"
    assert second.next_file(frozenset())[1].attempts == 2
    assert not leftover.exists()
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [job]
    second.close()


def test_attempts_that_end_in_good_order_do_not_count(store):
    job = add(store)
    store.next_file(frozenset())
    store.forget_attempt(job, 0)
    assert store.files(job)[0].attempts == 0


def test_a_second_server_is_kept_out(tmp_path, store):
    with pytest.raises(OutputError, match="another server"):
        Store(tmp_path / "data")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="Cannot use"):
        Store(tmp_path / "file")


def test_finished_jobs_may_go_and_old_ones_do(store):
    jobs = [add(store, 1, size=100) for _ in range(4)]
    for job in jobs[:3]:
        store.next_file(frozenset())
        store.finish_file(job, 0, Outcome(1, size=11))
        time.sleep(0.01)
    old = sorted(store.removable(), key=lambda each: -each.idle)
    assert [(each.key, each.size) for each in old] == [(job, 111) for job in jobs[:3]]
    assert store.sweep(seconds=60) == []
    with store.hold(jobs[0]):
        assert not old[0].remove()
        assert store.sweep(seconds=0) == jobs[1:3]
    assert store.sweep(seconds=0) == [jobs[0]]
    assert store.removable() == []  # open jobs stay
    assert store.used_bytes() == 100


def test_a_folder_of_an_earlier_version_gets_its_new_columns(tmp_path):
    first = Store(tmp_path)
    job = add(first, 1)
    first._database.execute("ALTER TABLE files DROP COLUMN device")
    first.close()
    second = Store(tmp_path)
    second.next_file(frozenset())
    second.finish_file(job, 0, Outcome(3, 20.5, "cuda:0", 0.1))
    assert second.files(job)[0].device == "cuda:0"
    second.close()


def test_a_failed_transaction_leaves_the_store_as_it_was(store, monkeypatch):
    job = add(store)
    with pytest.raises(sqlite3.IntegrityError):
        store._insert(job, [], "{}")
    assert len(store.jobs(limit=9)) == 1
    assert add(store) != job


def test_a_job_that_cannot_be_stored_leaves_no_folder(store, monkeypatch, tmp_path):
    def fails(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "_insert", fails)
    with pytest.raises(sqlite3.OperationalError):
        add(store)
    assert list((tmp_path / "data" / "jobs").iterdir()) == []


def test_a_full_disk_does_not_keep_from_removing(store, monkeypatch, tmp_path):
    job = add(store)
    folder, real = tmp_path / "data" / "jobs" / job, store._forget

    def forget(job):
        if folder.exists():
            raise sqlite3.OperationalError("database or disk is full")
        real(job)

    monkeypatch.setattr(store, "_forget", forget)
    store.remove(job)
    assert store.job(job) is None


def test_remove_of_a_job_whose_folder_is_gone(store, tmp_path):
    job = add(store)
    shutil.rmtree(tmp_path / "data" / "jobs" / job)
    store.remove(job)
    assert store.job(job) is None
