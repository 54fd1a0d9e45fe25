"""`python -m pmd_jax.main --config=launch/rhd_distill.py`: flags, distributed start, compile cache; then run.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "A file of launch/, and overrides: --config.optim.steps=100.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; runs/<config name> if not given.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Several processes: found by themselves on Slurm and Cloud TPU.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where it is not found by itself.")
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes take part.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
flags.mark_flag_as_required("config")

EXIT_BAD_INPUT = 2
EXIT_DIVERGED = 3
EXIT_PREEMPTED = 75  # saved and asked to stop: the same command goes on


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments {argv[1:]}; options begin with --.")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.FATAL)  # Orbax logs every file it writes, and each error before it raises it
    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or Path.home() / ".cache" / "pmd_jax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if DISTRIBUTED.value or COORDINATOR.value:
        jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)

    from pmd_jax import run
    from pmd_jax.errors import InputError
    from pmd_jax.train import Diverged, Preempted

    config = CONFIG.value
    workdir = Path(WORKDIR.value or Path("runs") / config.name)
    try:
        results = run.run(config, workdir)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except Diverged as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_DIVERGED
    except Preempted as error:
        print(f"{error}; run the same command again to go on.", file=sys.stderr)
        return EXIT_PREEMPTED
    if jax.process_index() == 0:
        print(f"\n{run.table(results)}\n\nReport: {workdir / 'report.html'}\nExport: {workdir / 'export'}")
    return 0


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with a sentence in place of a traceback for a config that does not load."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"Error: {str(error).strip(chr(34))} (fields and their meaning: pmd_jax/config.py)", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
