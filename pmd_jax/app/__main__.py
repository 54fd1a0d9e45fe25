"""`python -m pmd_jax.app`: a page on this machine, a picture or the camera in, a hand out."""

import sys

from pmd_jax.app.server import main

if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
