"""What starts the command on clusters, as far as this can be tried without one: the very command, as two processes."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from made_up_data import write_made_up_data
from test_job import CACHE, FAST, ONE_ROW, ROOT, content
from test_multiprocess import finish, free_port

from pmd_jax.runtime import errors

SCRIPTS = ["launch/slurm.sbatch", "launch/tpu_pod.sh"]
JOBSET = yaml.safe_load((ROOT / "launch/kubernetes_jobset.yaml").read_text())
RANKS = """
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & pids+=($!); done
code=0; for pid in "${pids[@]}"; do wait "$pid" || code=$?; done; exit $code
"""
SRUN = '#!/usr/bin/env bash\n[ "$1" = --kill-on-bad-exit=0 ] || exit 99; shift' + RANKS
GCLOUD = (
    '#!/usr/bin/env bash\necho "$@" > "$GCLOUD_SAW"; set -- bash -c "${@: -1:1}"; set -- "$1" "$2" "${3#--command=}"'
    + RANKS
)


def container() -> dict:
    [job] = JOBSET["spec"]["replicatedJobs"]
    [described] = job["template"]["spec"]["template"]["spec"]["containers"]
    return described


# ---- form


@pytest.mark.parametrize("script", SCRIPTS)
def test_shell_scripts_are_sound(script):
    checker = Path(sys.executable).with_name("shellcheck")
    for command in (["bash", "-n"], [str(checker)]):
        done = subprocess.run([*command, script], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_slurm_gives_each_task_one_of_its_nodes_gpus():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", (ROOT / SCRIPTS[0]).read_text(), re.M))
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert "gpus-per-task" not in options
    assert {"requeue", "signal"} <= options.keys()


def test_the_jobset_says_the_same_everywhere():
    [job] = JOBSET["spec"]["replicatedJobs"]
    spec, name = job["template"]["spec"], JOBSET["metadata"]["name"]
    assert (JOBSET["apiVersion"], JOBSET["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert spec["completionMode"] == "Indexed"
    assert f"--processes={spec['parallelism']}" in container()["args"]
    assert spec["parallelism"] == spec["completions"]
    environment = {variable["name"]: variable for variable in container()["env"]}
    assert environment["COORDINATOR"]["value"] == f"{name}-{job['name']}-0-0.{name}"
    assert container()["command"][1:] == ["-m", "pmd_jax.main"]
    mounted = {mount["name"] for mount in container()["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}


def test_kubernetes_starts_again_what_another_start_can_mend_and_nothing_else():
    """The job's end is decided by the exit codes that errors.py gives: bad input and divergence stay what they are."""
    [job] = JOBSET["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["operator"] == "In"
    assert set(rule["onExitCodes"]["values"]) == {errors.EXIT_BAD_INPUT, errors.EXIT_DIVERGED}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # Kubernetes wants it beside such rules
    policy = JOBSET["spec"]["failurePolicy"]
    assert [(rule["action"], rule["onJobFailureReasons"]) for rule in policy["rules"]] == [
        ("FailJobSet", ["PodFailurePolicy"])
    ]
    assert policy["maxRestarts"] > 0  # for all other codes: lost, preempted


def test_the_exit_codes_are_documented():
    """The table in docs/running.md has a line for every code of errors.py."""
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    table = page.partition("| exit code | meaning |\n")[2].partition("\n\n")[0]
    documented = {int(code) for line in table.splitlines() for code in re.findall(r"\d+", line.split("|")[1])}
    assert codes <= documented


# ---- the very commands


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return write_made_up_data(tmp_path_factory.mktemp("data"))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Four fake devices a process, and what Slurm sets in every task; `folder` holds a stand-in for srun or gcloud."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        "PYTHON": sys.executable,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(random.randrange(2**20)),  # JAX takes the coordinator's port from it
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        **more,
    }


def stand_in(folder: Path, name: str, script: str) -> Path:
    folder.mkdir()
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return folder


def ran_as_two(workdir: Path) -> bool:
    content(workdir)  # it is complete
    return '"processes": "2"' in (workdir / "results.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("script", "name", "stands_in"), [(SCRIPTS[0], "srun", SRUN), (SCRIPTS[1], "gcloud", GCLOUD)])
def test_the_script_starts_two_processes(data_dir, tmp_path, script, name, stands_in):
    """What stands in for srun and gcloud starts the command it is given twice."""
    workdir, saw = tmp_path / "run", tmp_path / "saw"
    options = [*FAST, ONE_ROW, f"--config.data.data_dir={data_dir}", f"--workdir={workdir}"]
    done = subprocess.run(
        ["bash", script, *options],
        cwd=ROOT,
        env=environment(
            stand_in(tmp_path / "bin", name, stands_in),
            **{"TPU_NAME": "my-tpu", "ZONE": "a-zone", "CHECKOUT": str(ROOT), "GCLOUD_SAW": str(saw)},
        ),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran_as_two(workdir)
    if name == "gcloud":
        assert saw.read_text().startswith("compute tpus tpu-vm ssh my-tpu --zone=a-zone --worker=all --command=cd ")


def test_slurm_goes_on_after_it_was_asked_to_stop(tmp_path):
    """Code 75 puts the job into the queue again, others do not."""
    for code, requeued in ((errors.EXIT_PREEMPTED, True), (errors.EXIT_BAD_INPUT, False), (0, False)):
        folder, saw = tmp_path / str(code), tmp_path / f"saw_{code}"
        stand_in(folder, "srun", f"#!/bin/sh\nexit {code}\n")
        (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {saw}\n')
        (folder / "scontrol").chmod(0o755)
        done = subprocess.run(["bash", SCRIPTS[0]], cwd=ROOT, env=environment(folder, SLURM_JOB_ID="77"))
        assert done.returncode == code
        assert (saw.read_text() == "requeue 77\n") if requeued else not saw.exists()


@pytest.mark.slow
def test_the_jobsets_command_as_two_pods(data_dir, tmp_path):
    """Kubernetes puts variables in place of $(NAME); names of pods mean nothing here, so the first is this machine."""
    port = free_port()
    shared = {"/shared/prepared": str(data_dir), "/shared/runs/rhd_distill": str(tmp_path / "run"), ":9876": f":{port}"}
    shared["launch/rhd_distill.py"] = "launch/smoke.py"
    pods = []
    for index in ("0", "1"):
        arguments = [
            argument.replace("$(COORDINATOR)", "localhost").replace("$(PROCESS)", index)
            for argument in container()["args"]
        ]
        for there, here in shared.items():
            arguments = [argument.replace(there, here) for argument in arguments]
        command = [sys.executable, *container()["command"][1:], *arguments, *FAST[1:], ONE_ROW]
        variables = environment(tmp_path, KUBERNETES_SERVICE_HOST="10.0.0.1")  # JAX must not look for its pod
        for name in [name for name in variables if name.startswith("SLURM")]:
            del variables[name]
        pods.append(
            subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    for code, output in finish(pods):
        assert code == 0, output
    assert ran_as_two(tmp_path / "run")
