"""A few rounds of the kill loop; the long one is the script's own."""

from crash.kill_loop import compare, kill_loop


def test_jobs_that_are_killed_and_run_again_end_as_a_clean_build(tmp_path):
    kills, version = kill_loop(tmp_path / "killed", 600, 3, seed=3, edge=True)

    assert kills.total() == 3
    assert compare(tmp_path / "killed", tmp_path / "clean", 600, version, seed=3, edge=True) == []
