"""`python -m pmd_jax.predict`: hands in pictures, videos and cameras."""

import sys

from pmd_jax.predict.cli import main

if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
