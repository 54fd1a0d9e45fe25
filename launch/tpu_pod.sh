#!/usr/bin/env bash
# All hosts of a Cloud TPU slice, one process a host. From any machine that has gcloud:
#
#   TPU_NAME=my-tpu ZONE=europe-west4-b launch/tpu_pod.sh --config=launch/rhd_distill.py --workdir=/shared/runs/rhd_distill
#
# Every host needs the checkout in CHECKOUT, with `make env` done in it; workdir and data must be on a disk that all share.
set -euo pipefail

: "${TPU_NAME:?name the TPU slice}" "${ZONE:?name its zone}" "${1:?give the options of pmd_jax.main, --config first}"
printf -v options ' %q' "$@"
exec gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$ZONE" --worker=all \
    --command="cd ${CHECKOUT:-pmd_jax} && ${PYTHON:-.venv/bin/python} -m pmd_jax.main --distributed$options"
