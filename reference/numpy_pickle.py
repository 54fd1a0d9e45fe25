"""Pickles as another version of NumPy writes them."""

from __future__ import annotations

import io
import pickle
import types


class NumpyPickler(pickle._Pickler):
    """Pickles with the module paths of a NumPy of choice."""

    def __init__(self, file: io.BytesIO, protocol: int, numpy_package: str):
        super().__init__(file, protocol)
        self.numpy_package = numpy_package

    def save_global(self, obj, name=None):
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith(("numpy._core.", "numpy.core.")):
            return super().save_global(obj, name)
        path = f"{self.numpy_package}.{module.rpartition('.')[2]}"
        if self.proto >= 4:
            self.save(path)
            self.save(obj.__name__)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{path}\n{obj.__name__}\n".encode())
        return self.memoize(obj)

    dispatch = pickle._Pickler.dispatch | {types.FunctionType: save_global}
