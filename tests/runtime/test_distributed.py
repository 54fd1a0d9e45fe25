"""What is said where processes cannot come together."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import pytest
from conftest import small_config
from made_up_data import write_made_up_data
from test_multiprocess import free_port, spawn, start

import pmd_jax
from pmd_jax.config import DataConfig
from pmd_jax.runtime import distributed, ending, environment, key_value
from pmd_jax.runtime.distributed import DistributedError
from pmd_jax.runtime.joining import join
from pmd_jax.train import job


@pytest.mark.parametrize(
    ("coordinator", "processes", "process", "words"),
    [
        (None, 2, 0, "need --coordinator=host:port"),
        ("node0", 2, 0, "--coordinator=node0: give host:port"),
        ("node0:port", 2, 0, "--coordinator=node0:port: give host:port"),
        ("localhost:99999", 2, 0, "--coordinator=localhost:99999: give host:port"),
        ("localhost:9876", None, 0, "needs --processes and --process"),
        ("localhost:9876", 2, None, "needs --processes and --process"),
        ("localhost:9876", 2, 2, "--process=2 of --processes=2: processes count from 0"),
        ("localhost:9876", 2, -1, "--process=-1 of --processes=2: processes count from 0"),
        ("nowhere.invalid:9876", 2, 1, "there is still no host nowhere.invalid"),
    ],
)
def test_options_that_do_not_fit(coordinator, processes, process, words):
    with pytest.raises(DistributedError) as caught:
        join(coordinator, processes, process, timeout_s=1)
    assert words in str(caught.value)


@pytest.mark.slow
def test_the_others_do_not_come():
    """Process 1 is there, and process 0 is not."""
    began = time.monotonic()
    process = start(
        f"--coordinator=localhost:{free_port()}",
        "--processes=2",
        "--process=1",
        "--join_timeout=3",
        "--workdir=nowhere",
    )
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert output.startswith("Error: after 3 s not all processes were there.")
    assert time.monotonic() - began < 200


@pytest.mark.slow
def test_no_cluster_is_found():
    process = start("--distributed", "--workdir=nowhere")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "could not join the others" in output
    assert "Traceback" not in output


_ABORTS = """
import faulthandler, os, sys, threading
from pmd_jax.runtime.joining import join
faulthandler.enable()  # as absl.app does
join(f"127.0.0.1:{sys.argv[1]}", 1, 0, timeout_s=60)
threading.Thread(target=threading.Event().wait, daemon=True).start()
os.abort()
"""


@pytest.mark.slow
def test_what_other_threads_do_is_not_printed_while_they_go_on():
    """That ended the process by SIGSEGV now and then, in place of SIGABRT."""
    process = spawn([sys.executable, "-c", _ABORTS, str(free_port())], devices=1)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGABRT, output
    assert "most recent call first" in output
    assert "\nThread 0x" not in output, output


# ---- processes that work on different things


class Service:
    """Stands in for JAX's key-value store."""

    def __init__(self):
        self.values: dict[str, str] = {}

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        assert allow_overwrite or key not in self.values
        self.values[key] = value

    def key_value_try_get(self, key: str) -> str:
        if key not in self.values:
            raise jax.errors.JaxRuntimeError(f"NOT_FOUND: {key}")
        return self.values[key]


class Both:
    """Two threads that stand in for two processes."""

    def __init__(self, monkeypatch):
        self._mine, self._counts, service = threading.local(), (Counter(), Counter()), Service()
        monkeypatch.setattr(key_value, "client", lambda: service)
        monkeypatch.setattr(distributed, "_count", self._count)
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda: self.index)

    @property
    def index(self) -> int:
        return getattr(self._mine, "index", 0)

    def _count(self, kind: str) -> int:
        self._counts[self.index][kind] += 1
        return self._counts[self.index][kind]

    def do(self, job: Callable[[], Any]) -> list[Any]:
        """What it returns or raises on each."""
        outcomes: list[Any] = [None, None]

        def work(index: int) -> None:
            self._mine.index = index
            try:
                outcomes[index] = job()
            except Exception as error:
                outcomes[index] = error

        threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        return outcomes


@pytest.fixture
def both(monkeypatch) -> Both:
    return Both(monkeypatch)


def test_the_same_on_both_is_no_reason_to_stop(both):
    assert both.do(lambda: distributed.require_same("numbers", {"a": [1, 0.5], "b": None})) == [None, None]


@pytest.mark.parametrize("other", [{"a": 2}, {}, {"a": 1, "b": 0}])
def test_what_differs_is_named_on_both(both, other):
    first, second = both.do(lambda: distributed.require_same("numbers", other if both.index else {"a": 1}))
    name = "b" if "b" in other else "a"
    values = f"{({'a': 1}).get(name)} on process 0 and {other.get(name)} on process 1"
    assert isinstance(second, DistributedError)
    assert str(first) == str(second)
    assert str(first) == f"The processes differ in their numbers: {name} is {values}. Start all with the same."


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    data_dir = write_made_up_data(tmp_path_factory.mktemp("data"))
    return small_config(data=DataConfig("rendered_hands", "smoke", data_dir=str(data_dir)), rows=("rgb_baseline",))


@pytest.mark.parametrize(
    ("function", "change", "words"),
    [
        ("code_digest", lambda digest: digest[::-1], "code, versions or configuration: code is "),
        ("versions", lambda versions: {**versions, "jax": "0.0.1"}, "code, versions or configuration: jax is "),
        ("versions", lambda versions: {**versions, "flax": "0.0.1"}, "code, versions or configuration: flax is "),
        ("describe", lambda samples: {**samples, "test": "other ones"}, "prepared samples: test is "),
    ],
    ids=["code", "JAX", "Flax", "samples"],
)
def test_a_run_refuses_a_process_with_other_code_versions_or_samples(
    both, config, tmp_path, monkeypatch, function, change, words
):
    """The run itself: on both, with the same sentence, and before its folder is made."""
    asked = getattr(job, function)
    monkeypatch.setattr(job, function, lambda *given: change(asked(*given)) if both.index else asked(*given))
    monkeypatch.setattr(ending, "together", lambda stop: nullcontext())
    first, second = both.do(lambda: job.run(config, tmp_path / "run"))
    assert isinstance(second, DistributedError), second
    assert str(first) == str(second)
    assert f"The processes differ in their {words}" in str(first)
    assert str(first).endswith("Start all with the same.")
    assert not (tmp_path / "run").exists()


def test_where_the_data_lie_may_differ(config):
    """A disk may have another name on another host; everything else counts."""
    elsewhere = dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir="/elsewhere"))
    assert job.fingerprint(elsewhere) == job.fingerprint(config)
    assert job.fingerprint(dataclasses.replace(config, seed=5)) != job.fingerprint(config)
    assert job.fingerprint(config).keys() >= {"code", *environment.versions()}


def test_the_codes_digest_is_of_the_whole_package(monkeypatch):
    package, read = Path(pmd_jax.__file__).parent, []
    content = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path), content(path))[1])
    environment.code_digest()
    assert set(read) >= set(package.rglob("*.py"))
