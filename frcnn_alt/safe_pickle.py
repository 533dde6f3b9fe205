"""Reading pickles that hold arrays, without running what a pickle could run.

Beside config and compat, because checkpoints and proposal files come as pickles.
"""

import pickle
from typing import Any, Tuple

__all__ = ["ArrayUnpickler"]

_ADMITTED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),  # how protocols up to 2 write an empty array
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that makes nothing but numpy arrays and plain containers; anything else is a ``UnpicklingError``.

    Subclasses admit more by `also_admitted`, pairs of module and name.
    """

    also_admitted: Tuple[Tuple[str, str], ...] = ()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED and (module, name) not in self.also_admitted:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}; only numpy arrays and plain containers are read"
            )
        return super().find_class(module, name)
