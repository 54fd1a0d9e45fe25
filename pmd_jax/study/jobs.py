"""A study spread over the devices of one machine: one process each, every one with a share of the runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pmd_jax.runtime.preemption import SIGNALS


def spread(jobs: int, task: int, tasks: int) -> int:
    """Starts this very command `jobs` times and waits for all; SIGTERM and Ctrl-C are handed on, so that they save.

    Process j sees GPU j only. On the CPU each computes on one core: the networks of the small preset gain nothing from
    a second one, and two runs side by side do.

    Args:
        jobs: how many processes.
        task, tasks: which share of the study this command has; the processes divide it among them.

    Returns:
        The largest of their exit codes (0 done, 75 stopped and to be started again).
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = visible if len(visible) >= jobs else [str(job) for job in range(jobs)]
    processes = []
    for job in range(jobs):
        flags = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": devices[job],
            "XLA_FLAGS": flags.strip(),
            "JAX_NUM_CPU_DEVICES": "1",
        }
        share = ["--jobs=1", f"--task={task * jobs + job}", f"--tasks={tasks * jobs}"]
        command = [sys.executable, "-m", "pmd_jax.study", *sys.argv[1:], *share]  # the last of equal flags counts
        # A group of its own: the terminal's Ctrl-C goes to this process alone, which hands it on.
        processes.append(subprocess.Popen(command, env=environment, process_group=0))

    def hand_on(*_):
        for process in processes:
            process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, hand_on) for number in SIGNALS}
    try:
        return max(abs(process.wait()) for process in processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in processes:
            process.kill()  # nothing is left behind when this process is interrupted
