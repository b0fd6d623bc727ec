"""Short runs of the two processes; the long ones are the script's own (`two_processes.py`)."""

import pytest
from crash.two_processes import TwoProcesses, legs_of

FAST = [(10, 40)]
SLOW = [(seed, 200) for seed in range(1, 11)]


@pytest.mark.parametrize(("seed", "steps"), [*FAST, *(pytest.param(*run, marks=pytest.mark.slow) for run in SLOW)])
def test_a_reader_answers_as_one_state_whatever_another_process_does(tmp_path, seed, steps):
    TwoProcesses(tmp_path, seed, legs=legs_of(seed)).run(steps)
