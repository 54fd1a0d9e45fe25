"""`python -m pmd_jax.prepare`: raw archive to prepared split."""

import sys

from pmd_jax.prepare.cli import main

if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
