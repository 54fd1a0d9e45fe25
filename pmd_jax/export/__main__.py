"""`python -m pmd_jax.export`: a trained network for other programs."""

import sys

from pmd_jax.export.cli import main

if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
