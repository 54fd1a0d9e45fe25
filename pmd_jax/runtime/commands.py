"""The console command `pmd-jax`: `pmd-jax predict hand.jpg` is `python -m pmd_jax.predict hand.jpg`."""

from __future__ import annotations

import importlib
import runpy
import sys

from pmd_jax.runtime.errors import EXIT_BAD_INPUT

COMMANDS = {
    "record": "record a depth camera, to be prepared",
    "prepare": "make a data set ready: draw it, or read its archive",
    "main": "train and evaluate the networks of a launch file, and write a report",
    "study": "train the rows of a table with several seeds, and make RESULTS.md",
    "predict": "find the joints of hands in pictures, videos and cameras",
    "app": "the same on a page in the browser",
    "export": "write a trained network for other programs",
}
HELP = "\n".join(
    [
        "usage: pmd-jax COMMAND [OPTION …]",
        "",
        "3D hand pose from one RGB picture: PMD-Net in JAX. Each command is also `python -m pmd_jax.COMMAND`.",
        "",
        *(f"  {name:9} {text}" for name, text in COMMANDS.items()),
        "",
        "The options of a command: pmd-jax COMMAND --help. The version: pmd-jax --version.",
    ]
)


def main() -> int:
    """Hands over to a command; JAX is imported by those that need it."""
    name, *options = sys.argv[1:] or [""]
    if name in COMMANDS:
        sys.argv[1:] = options
        runpy.run_module(f"pmd_jax.{name}", run_name="__main__", alter_sys=True)  # exits with the command's code
        return 0
    if name in ("--help", "-h", "help"):
        print(HELP)
        return 0
    if name in ("--version", "-V"):
        print(f"pmd_jax {importlib.import_module('pmd_jax').__version__}")
        return 0
    said = f"pmd-jax has no command {name!r}." if name else "Name a command."
    print(f"Error: {said} It has: {', '.join(COMMANDS)}. See pmd-jax --help.", file=sys.stderr)
    return EXIT_BAD_INPUT
