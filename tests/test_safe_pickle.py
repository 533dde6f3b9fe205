"""The unpickler makes arrays and plain containers of any protocol, and refuses everything else."""

import io
import os
import pickle
from collections import OrderedDict

from frcnn_alt.safe_pickle import ArrayUnpickler

import numpy as np
import pytest

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class RunsCode:
    def __reduce__(self):
        return os.system, ("exit 1",)


def load(data, unpickler=ArrayUnpickler):
    return unpickler(io.BytesIO(data), encoding="latin1").load()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_containers_come_back(protocol):
    data = OrderedDict(
        full=np.arange(6, dtype=np.float32).reshape(2, 3), empty=np.zeros((0, 4)), number=np.float64(0.5), names=["a"]
    )
    again = load(pickle.dumps(data, protocol))
    assert list(again) == list(data) and again["names"] == ["a"] and again["number"] == 0.5
    for name in ("full", "empty"):
        assert again[name].dtype == data[name].dtype
        np.testing.assert_array_equal(again[name], data[name])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_does_not_run(protocol):
    with pytest.raises(pickle.UnpicklingError, match="it asks for .*system; only numpy arrays"):
        load(pickle.dumps({"model": RunsCode()}, protocol))


def test_a_subclass_admits_what_it_names():
    class Fractions(ArrayUnpickler):
        also_admitted = (("fractions", "Fraction"),)

    from fractions import Fraction

    data = pickle.dumps(Fraction(1, 3))
    assert load(data, Fractions) == Fraction(1, 3)
    with pytest.raises(pickle.UnpicklingError, match="fractions.Fraction"):
        load(data)
