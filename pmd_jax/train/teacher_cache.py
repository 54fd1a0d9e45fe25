"""The table of a frozen teacher's outputs as a file: computed once, found again by what it was computed of.

A NumPy file, and behind its last entry, where NumPy does not look, the checksum of all before (`digest.crc32`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool
from tqdm import tqdm

from pmd_jax.config import Config
from pmd_jax.config.backbones import CROP_SIZE_PX
from pmd_jax.config.methods import Method
from pmd_jax.data.augment import flip
from pmd_jax.data.dataset import Columns
from pmd_jax.data.depth_origin import CHUNK
from pmd_jax.data.inputs import Batch, to_inputs
from pmd_jax.evaluate.predictions import compile_outputs, outputs_of
from pmd_jax.models.network import Network, Weights, compute_dtype
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.runtime import sharding
from pmd_jax.runtime.digest import crc32
from pmd_jax.runtime.distributed import barrier, broadcast, is_primary
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import locked, replacing, wait_for_file
from pmd_jax.runtime.preemption import Stop
from pmd_jax.train.teacher_outputs import Entries, StoredTable, TableOutputs, flip_choices

FORMAT = 1  # of the file
_SUM, _SUM_BYTES = b"\nCRC-32 %08x\n", 17  # what ends it


class CacheError(InputError):
    """The table cannot be kept; the message names the file and the remedy."""


def pays(config: Config, method: Method, samples: int) -> bool:
    """Whether a student of this configuration learns from a table, which holds no maps.

    A function of the configuration, the method and the number of samples alone, so that a run goes on as it began.
    Never where the depth maps change by more than flips: a table has entries for these alone.
    """
    if config.augment.beyond_flips():
        return False
    if config.loss.lambda_maps > 0 and method.imitates_maps:
        return False  # sixteen kilobytes a sample and flip: six times what the table holds
    if config.teacher.cache == "auto":
        return samples * len(flip_choices(config.augment)) < config.optim.steps * config.optim.batch
    return config.teacher.cache == "on"


def home(export: Path, own: Path) -> Path:
    """Where a table is kept: beside the teacher's export in the run that trained it, for its other students; or `own`.

    A folder that is not of a run, or that cannot be written to, is left as it is.
    """
    return export.parent if export.name == "export" and os.access(export.parent, os.W_OK) else own


def table_of(
    network: Network, weights: Weights, columns: Columns, config: Config, folder: Path, mesh: Mesh, stop: Stop
) -> TableOutputs | StoredTable:
    """The teacher's table of the training samples, on the devices where `config.teacher.cache_device_mb` allows it.

    Args:
        network, weights: the teacher's; the weights on the mesh.
        columns: the training samples.
        folder: where the file is kept, on a disk that all processes share.
        stop: tells when the run is asked to stop.

    Raises:
        CacheError: the file cannot be written.
        Preempted: asked to stop while the table was computed; nothing of it is kept.
    """
    # Named by process 0: what a process asks a network disk for before it is there may stay "not there" for a minute.
    path = Path(broadcast(str(folder / f"lessons_{_name(weights, columns, config)}.npy"), "the teacher's table"))
    shape, entry = (len(columns), len(flip_choices(config.augment))), _entry(network, weights)
    megabytes = math.prod(shape) * entry.itemsize / 1e6
    try:
        # Of several runs with one teacher, one computes and the others wait for it.
        lock = locked(path.with_name("lessons.lock"), "the teacher's table", stop.raise_if_asked)
        with lock if is_primary() else nullcontext():
            table = _open(path, shape, entry) if is_primary() else None
            if table is None and is_primary() and path.exists():
                print(f"The teacher's table {path} is broken or truncated; it is computed again.", file=sys.stderr)
            if broadcast(table is None, "the teacher's table"):
                _write(path, shape, entry, _said(network, weights, columns, config, mesh, entry), stop)
    except OSError as error:
        raise CacheError(
            f"The teacher's table {path} could not be written ({error}): make room for {megabytes:.0f} MB and run "
            "again, or add --config.teacher.cache=off."
        ) from error
    barrier("the teacher's table")
    table = wait_for_file(lambda: _open(path, shape, entry)) if table is None else table
    if table is None:
        raise CacheError(f"{path} is not there for process {jax.process_index()}: put the run on a disk shared by all.")
    # The devices of a CPU share its memory, where the file is already.
    copies = len(jax.local_devices()) if jax.default_backend() == "cpu" else 1
    if megabytes * copies > config.teacher.cache_device_mb:
        return StoredTable(table)
    whole = sharding.replicated(mesh)
    # Not device_put, which would compare the processes' tables.
    parts = [jax.make_array_from_process_local_data(whole, table[name]) for name in Entries._fields]
    return TableOutputs(Entries(*parts))


def _name(weights: Weights, columns: Columns, config: Config) -> str:
    """Names all that a table depends on: the teacher's structure and weights, the depth that it sees, the flips."""
    model, dtype = dataclasses.asdict(config.model), str(compute_dtype(config.compute_dtype))
    if dtype != "float32":
        dtype += " with float32 norms"  # earlier versions rounded these too: not the same table
    digest = hashlib.blake2b(json.dumps([FORMAT, model, dtype, flip_choices(config.augment)]).encode(), digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).data)
    for start in range(0, len(columns), CHUNK):
        digest.update(np.ascontiguousarray(columns.depth[start : start + CHUNK]).data)
    digest.update(np.ascontiguousarray(columns.depth_origin_m).data)
    return digest.hexdigest()


def _entry(network: Network, weights: Weights) -> np.dtype:
    """What the table holds for a sample and a flip: the fields of `Entries`."""
    images = jax.ShapeDtypeStruct((1, CROP_SIZE_PX, CROP_SIZE_PX, 1), jnp.float32)
    said = jax.eval_shape(network.evaluate, weights, images)
    return np.dtype([(name, "<f4", getattr(said, name).shape[1:]) for name in Entries._fields])


def _open(path: Path, shape: tuple[int, int], entry: np.dtype) -> np.ndarray | None:
    """The table as a memory map; None where there is no whole one."""
    try:
        end = _whole_until(path)
        table = np.load(path, mmap_mode="r")
    except Exception:  # of a header without a sum, Python's tokenizer may be the one that complains
        return None
    fits = table.shape == shape and table.dtype == entry and table.offset + table.nbytes == end
    return table if fits else None


def _whole_until(path: Path) -> int:
    """Where a table's sum begins, if it is that of all before; the file's size where it has none, as earlier ones had.

    Raises:
        ValueError: the sum is another one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - _SUM_BYTES, 0))
        said = file.read()
        if not said.startswith(_SUM[:8]):
            return size
        file.seek(0)
        crc, end = crc32(file, size - _SUM_BYTES)
    if said != _SUM % crc:
        raise ValueError(f"{path} is damaged")
    return end


def _said(
    network: Network, weights: Weights, columns: Columns, config: Config, mesh: Mesh, entry: np.dtype
) -> Iterator[np.ndarray]:
    """The table's rows, batch by batch, on every process."""
    teach = compile_outputs(functools.partial(_teach, network), mesh)
    arguments = [(weights, np.array(flips)) for flips in flip_choices(config.augment)]
    for said in outputs_of(teach, arguments, columns, config.eval_batch, mesh):
        rows = np.empty((len(said[0].feature), len(said)), entry)
        for number, of_flip in enumerate(said):
            for name in Entries._fields:
                rows[name][:, number] = getattr(of_flip, name)
        yield rows


def _teach(network: Network, arguments: tuple[Weights, Bool[Array, 2]], batch: Batch) -> Prediction:
    """What the teacher says of a batch with the same flips for all."""
    weights, flips = arguments
    flipped = flip(batch, jnp.broadcast_to(flips, (len(batch.index), 2)))
    return network.evaluate(weights, to_inputs(flipped).depth)


def _write(path: Path, shape: tuple[int, int], entry: np.dtype, said: Iterator[np.ndarray], stop: Stop) -> None:
    """Writes the table on process 0, whole or not at all; the others take part in what is said."""
    samples, _ = shape
    progress = tqdm(total=samples, desc="teacher's table", unit="hand", dynamic_ncols=True, disable=not is_primary())
    place = replacing(path) if is_primary() else nullcontext(Path(os.devnull))
    with place as unfinished, unfinished.open("wb") as file, progress:
        begin = io.BytesIO()
        header = {"descr": np.lib.format.dtype_to_descr(entry), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(begin, header)
        file.write(begin.getvalue())
        crc = zlib.crc32(begin.getvalue())
        for rows in said:
            stop.check("while the teacher's table was computed")
            content = rows.tobytes()
            file.write(content)
            crc = zlib.crc32(content, crc)
            progress.update(len(rows))
        file.write(_SUM % crc)
