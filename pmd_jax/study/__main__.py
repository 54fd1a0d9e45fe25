"""`python -m pmd_jax.study`: a table of the paper over several seeds."""

from absl import app, flags

from pmd_jax.runtime.cli import parse_flags
from pmd_jax.study import cli

if __name__ == "__main__":
    flags.adopt_module_key_flags(cli)  # for --help
    app.run(cli.main, flags_parser=parse_flags)
