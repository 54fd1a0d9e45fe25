"""Reads a pickle of NumPy arrays and plain containers, and nothing else.

A pickle is a program: loading one from outside with `pickle.load` runs whatever it says. Here every name that a pickle
can ask for is one of a few stand-ins written below. None of NumPy's own unpickling code runs either, since it believes
the types and sizes it is told.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from typing import Any

import numpy as np


class _DType:
    """What a pickled `numpy.dtype` becomes: a plain number type, refused otherwise."""

    def __init__(self, code, *_flags):
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248])", code):
            raise pickle.UnpicklingError(f"it holds values of type {code!r}; only plain numbers belong in it")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"{order!r} is not a byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """What a pickled `numpy.ndarray` becomes until `_plain` takes its value out."""

    value: np.ndarray

    def __setstate__(self, state):
        _version, shape, dtype, is_fortran, data = state
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


def _array(data, dtype, shape, order) -> np.ndarray:
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("it holds an array that is not stored as plain numbers")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array of shape {shape} does not fit its {len(data)} bytes")
    return np.frombuffer(bytes(data), dtype.dtype).reshape(shape, order=order)


def _reconstruct(_subtype, _shape, _typecode) -> _Array:
    return _Array()


def _frombuffer(data, dtype, shape, order) -> _Array:
    array = _Array()
    array.value = _array(data, dtype, shape, order)
    return array


def _scalar(dtype, data):
    return _array(data, dtype, (), "C")[()]


def _encode_latin1(text, encoding) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the text encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # Python 3 writes an empty array's data as bytes(), in protocols that know no byte strings


_ALLOWED = {
    **{(module, "bytes"): _no_bytes for module in ("__builtin__", "builtins")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode_latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}  # numpy.core until NumPy 1.26, numpy._core since 2.0


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which could run code; nothing of it was executed"
            ) from None

    def persistent_load(self, pid):
        raise pickle.UnpicklingError(f"it refers to something outside the file ({pid!r})")


def loads(data: bytes) -> Any:
    """The pickled value: numbers, text, None, NumPy arrays, and dicts, lists and tuples of them.

    Raises:
        ValueError: the data are truncated or damaged, or ask for anything that is not in that list.
    """
    try:
        # Python 2 pickles hold byte strings; latin1 keeps every byte of them.
        return _plain(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except MemoryError:
        raise ValueError("it asks for more memory than there is") from None
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        raise ValueError(str(error) or type(error).__name__) from None


def _plain(value):
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, not numbers, text or a container")
