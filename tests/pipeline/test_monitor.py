import json
import threading
import time

from medcritical.pipeline.monitor import SYSTEM, parse_gpus, read_machine, read_rows, watched_machine
from medcritical.store import read_records


def test_rows_are_written_while_the_block_runs_and_go_on_where_they_ended(tmp_path):
    for _ in range(2):
        with watched_machine(tmp_path, 0.05):
            time.sleep(0.6)
    rows = read_records(tmp_path / SYSTEM, dict[str, float])
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert steps[-1] >= 0.9  # seconds of watching, over both
    assert not [thread for thread in threading.enumerate() if thread.name == "machine"]


def test_a_torn_last_row_is_no_obstacle_and_the_next_starts_a_line(tmp_path):
    (tmp_path / SYSTEM).write_text('{"step": 5.0, "cpu_percent": 50.0}\n{"step": 10.0, "cpu_pe', encoding="utf-8")
    with watched_machine(tmp_path, 0.05):
        time.sleep(0.6)
    first, torn, *others = (tmp_path / SYSTEM).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(first), *map(json.loads, others)]
    assert torn == '{"step": 10.0, "cpu_pe'
    assert len(rows) > 1
    assert 5.0 < rows[1]["step"] < 10.0, "on from the last whole row"
    assert read_rows(tmp_path) == rows


def test_a_row_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / SYSTEM).mkdir()
    with watched_machine(tmp_path, 0.05):
        time.sleep(0.3)
        assert [thread for thread in threading.enumerate() if thread.name == "machine"]


def test_a_row_has_the_load_and_the_memory_of_this_process():
    row = read_machine()
    assert 0 <= row["cpu_percent"] <= 100
    assert row["memory_mib"] > 5
    assert 0 < row["machine_memory_percent"] < 100


def test_zero_seconds_look_at_nothing(tmp_path):
    with watched_machine(tmp_path, 0):
        pass
    assert not list(tmp_path.iterdir())


def test_cards_are_numbered_and_what_one_does_not_tell_is_left_out():
    assert parse_gpus("97, 40123, 512.50\n0, 3, [N/A]\n") == {
        "gpu0_percent": 97.0,
        "gpu0_memory_mib": 40123.0,
        "gpu0_watts": 512.5,
        "gpu1_percent": 0.0,
        "gpu1_memory_mib": 3.0,
    }
    assert parse_gpus("") == {}
