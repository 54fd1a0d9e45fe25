"""The flag --config of the commands: a launch file of the current folder, or one that comes with this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from pmd_jax.runtime.packaged import find

flags.disclaim_key_flags()  # the flag belongs to the command that defines it


class _LaunchFile(flags.ArgumentParser):
    """Reads `FILE.py` or `FILE.py:argument`; the flag itself keeps the name as it was given."""

    def __init__(self, reader: flags.ArgumentParser):
        self._reader = reader

    def parse(self, argument: str) -> Any:
        file, colon, rest = argument.partition(":")
        return self._reader.parse(f"{find(Path(file))}{colon}{rest}")

    def flag_type(self) -> str:
        return self._reader.flag_type()


def define_config(help_string: str) -> flags.FlagHolder:
    """Defines --config and its overrides, --config.FIELD=VALUE."""
    holder = config_flags.DEFINE_config_file("config", None, help_string)
    flag = flags.FLAGS["config"]
    flag.parser = _LaunchFile(flag.parser)
    return holder
