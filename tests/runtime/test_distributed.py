"""What is said where processes cannot come together."""

from __future__ import annotations

import time

import pytest
from test_multiprocess import free_port, start

from pmd_jax.runtime.distributed import DistributedError
from pmd_jax.runtime.joining import join


@pytest.mark.parametrize(
    ("coordinator", "processes", "process", "words"),
    [
        (None, 2, 0, "need --coordinator=host:port"),
        ("node0", 2, 0, "--coordinator=node0: give host:port"),
        ("node0:port", 2, 0, "--coordinator=node0:port: give host:port"),
        ("localhost:99999", 2, 0, "--coordinator=localhost:99999: give host:port"),
        ("localhost:9876", None, 0, "needs --processes and --process"),
        ("localhost:9876", 2, None, "needs --processes and --process"),
        ("localhost:9876", 2, 2, "--process=2 of --processes=2: processes count from 0"),
        ("localhost:9876", 2, -1, "--process=-1 of --processes=2: processes count from 0"),
        ("nowhere.invalid:9876", 2, 1, "there is still no host nowhere.invalid"),
    ],
)
def test_options_that_do_not_fit(coordinator, processes, process, words):
    with pytest.raises(DistributedError) as caught:
        join(coordinator, processes, process, timeout_s=1)
    assert words in str(caught.value)


@pytest.mark.slow
def test_the_others_do_not_come():
    """Process 1 is there, and process 0 is not."""
    began = time.monotonic()
    process = start(
        f"--coordinator=localhost:{free_port()}",
        "--processes=2",
        "--process=1",
        "--join_timeout=3",
        "--workdir=nowhere",
    )
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert output.startswith("Error: after 3 s not all processes were there.")
    assert time.monotonic() - began < 200


@pytest.mark.slow
def test_no_cluster_is_found():
    process = start("--distributed", "--workdir=nowhere")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "could not join the others" in output
    assert "Traceback" not in output
