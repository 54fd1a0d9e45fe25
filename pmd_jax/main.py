"""`python -m pmd_jax.main --config=launch/rhd_distill.py`: flags, distributed start, compile cache; then run.py."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags

from pmd_jax.runtime import cli
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.launch_files import define_config
from pmd_jax.train.job import run

CONFIG = define_config("A file of launch/, and overrides: --config.optim.steps=100.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; runs/<config name> if not given.")
NEW_SCHEDULE = flags.DEFINE_bool(
    "new_schedule", False, "Go on in a workdir with another learning rate or schedule than its run began with."
)
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Several processes: found by themselves on Slurm and Cloud TPU.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where it is not found by itself.")
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes take part.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
JOIN_TIMEOUT = flags.DEFINE_integer("join_timeout", 300, "Seconds to wait for the last of them.", lower_bound=1)
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments {argv[1:]}; options begin with --.")
    cli.set_up_jax()
    workdir = given_path(WORKDIR.value or Path("runs") / CONFIG.value.name)

    def job() -> None:
        from pmd_jax.runtime import distributed, joining
        from pmd_jax.train.workdir import table

        several = (COORDINATOR.value, PROCESSES.value, PROCESS.value)
        if DISTRIBUTED.value or several != (None, None, None):
            joining.join(*several, JOIN_TIMEOUT.value)
        results = run(CONFIG.value, workdir, new_schedule=NEW_SCHEDULE.value)
        if distributed.is_primary():
            print(f"\n{table(results)}\n\nReport: {workdir / 'report.html'}\nExport: {workdir / 'export'}")

    return cli.exit_code(job)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse_flags)
