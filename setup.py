"""A wheel also carries what lies beside the package in the checkout: builders, launch files, the demo network.

They go below `pmd_jax/_packaged`, since a top-level package called `datasets` would hide Hugging Face's.
`pmd_jax/runtime/packaged.py` finds them again. All else about the build is in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("datasets", "launch", "checkpoints/demo", "checkpoints/palm_detector")


class BuildWithFiles(build_py):
    """The usual build, and the carried files."""

    def run(self) -> None:
        if self.editable_mode:  # the checkout is used in place
            super().run()
            return
        package = Path(self.build_lib) / "pmd_jax"
        if package.resolve() != Path("pmd_jax").resolve():  # never the checkout itself
            shutil.rmtree(package, ignore_errors=True)  # an earlier build may have left modules that are gone by now
        super().run()
        for name in CARRIED:
            shutil.copytree(name, package / "_packaged" / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


setup(cmdclass={"build_py": BuildWithFiles})
