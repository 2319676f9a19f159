"""Child processes that report progress."""

import os
import subprocess
import sys

import pytest

from eetool.child_progress import progress_line, run_reporting

CHILD = f"""
import sys
print("result")
sys.stderr.write("warming up\\n")
for steps in (1, 3):
    sys.stderr.write("unended " + {progress_line(1)!r}.replace("1", str(steps)))
    sys.stderr.flush()
sys.stderr.write("error: damaged\\n")
sys.exit(3)
"""


def test_run_reporting_output_is_that_of_the_child_without_reports() -> None:
    steps: list[int] = []
    done = run_reporting([sys.executable, "-c", CHILD], steps.append)
    assert steps == [1, 3]
    assert (done.returncode, done.stdout) == (3, "result\n")
    assert done.stderr == "warming up\nunended unended error: damaged\n"


CHILD_THAT_STAYS = f"""
import os, sys, time
sys.stderr.write({progress_line(1)!r}.replace("1", str(os.getpid())))
sys.stderr.flush()
time.sleep(60)
"""


def test_run_reporting_interrupted_child_ends() -> None:
    process_ids: list[int] = []

    def interrupt(process_id: int) -> None:
        process_ids.append(process_id)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_reporting([sys.executable, "-c", CHILD_THAT_STAYS], interrupt, stdin=subprocess.DEVNULL)
    with pytest.raises(ProcessLookupError):
        os.kill(process_ids[0], 0)
