"""`python -m pmd_jax.record`: records a depth camera's frames."""

import sys

from pmd_jax.record.cli import main

if __name__ == "__main__":
    sys.exit(main())
