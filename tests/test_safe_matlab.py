"""What is looked through is what SciPy reads; what would end the process or fill the memory is refused before."""

import io
import struct
import tracemalloc
import zlib

from frcnn_alt.safe_matlab import checked_variables

import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is an optional package")

HEADER = b"MATLAB 5.0".ljust(124, b"\0") + b"\x00\x01IM"


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(matrix_class, sides, name, content):
    flags = element(6, struct.pack("<II", matrix_class, 0))
    return element(14, flags + element(5, struct.pack(f"<{len(sides)}i", *sides)) + element(1, name) + content)


ONE = element(9, struct.pack("<d", 1.5))


def check(tmp_path, content, wanted=("boxes",)):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    return checked_variables(path, wanted)


def test_a_file_by_hand_is_what_scipy_reads(tmp_path):
    content = HEADER + matrix(6, (1, 1), b"boxes", ONE) + matrix(1, (1, 1), b"b", matrix(6, (1, 1), b"", ONE))
    assert check(tmp_path, content) == ["boxes"] and check(tmp_path, content, None) == ["boxes"]
    assert scipy_io.loadmat(io.BytesIO(content), variable_names=["boxes"])["boxes"] == [[1.5]]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_passes(compressed, tmp_path):
    cells = np.empty((2, 2), object)
    cells[0, 0], cells[0, 1] = np.arange(8, dtype=np.uint16).reshape(2, 4), np.zeros((0, 4))
    cells[1, 0], cells[1, 1] = "a name", np.array([[1 + 2j]])
    file = io.BytesIO()
    scipy_io.savemat(file, {"boxes": cells, "s": {"x": 1}, "mean": np.zeros((2, 2, 3))}, do_compression=compressed)
    assert check(tmp_path, file.getvalue()) == ["boxes"]  # the structure is not among what is read
    assert check(tmp_path, file.getvalue(), None) == ["mean"]
    with pytest.raises(ValueError, match="something else than numbers"):
        check(tmp_path, file.getvalue(), ("s",))


MANY = (2**31 - 1, 1)


@pytest.mark.parametrize(
    "content, complaint",
    [
        (matrix(6, (1, 1), b"boxes", element(48, b"12345678")), "of kind 48"),  # SciPy 1.17 ends the process
        (matrix(6, (1, 1), b"boxes", element(14, b"")), "of kind 14"),  # this one, too
        (matrix(1, MANY, b"boxes", b""), "more cells than bytes"),
        (matrix(1, (50, 1), b"boxes", matrix(6, (1, 1), b"", ONE)), "cut short"),
        (matrix(1, (1, 1), b"boxes", matrix(1, MANY, b"", b"")), "more cells than bytes"),
        (matrix(4, MANY, b"boxes", element(1, b"")), "more letters than bytes"),
        (matrix(2, MANY, b"boxes", b""), "something else than numbers"),
        (matrix(6, (-1, 1), b"boxes", ONE), "impossible shape"),
        (matrix(6, (1, 1), b"boxes", ONE + ONE), "longer than what it holds"),
        (matrix(6, (1, 1), b"boxes", ONE)[:-4], "longer than what it is in|cut short"),
        (struct.pack("<II", 14, 2**32 - 8) + b"\0" * 64, "longer than what it is in"),
        (struct.pack("<II", 3, 0), "of kind 3"),
        (struct.pack("<II", 15, 8) + b"no zlib.", "cannot be unpacked"),
        (element(15, zlib.compress(element(14, bytes(1 << 27)))), "unpacks to more than"),
    ],
)
def test_what_scipy_must_not_see(content, complaint, tmp_path):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=complaint):
            check(tmp_path, HEADER + content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()


def test_cells_in_cells_in_cells(tmp_path):
    content = matrix(6, (1, 1), b"", ONE)
    for _ in range(40):
        content = matrix(1, (1, 1), b"boxes", content)
    with pytest.raises(ValueError, match="something else than"):
        check(tmp_path, HEADER + content)


@pytest.mark.parametrize("content", [b"", b"a" * 127, bytes(200), b"MATL" + bytes(200)])
def test_other_files(content, tmp_path):
    with pytest.raises(ValueError, match="it is no"):
        check(tmp_path, content)


def test_an_array_that_ends_where_scipy_and_others_disagree(tmp_path):
    """SciPy goes on right behind the bytes that are told, others at the next multiple of 8: it would read another."""
    odd = matrix(9, (1, 12), b"x", element(2, b"0" * 12))[8:-4]
    content = HEADER + struct.pack("<II", 14, len(odd)) + odd + b"\0" * 4 + matrix(6, (1, 1), b"boxes", ONE)
    with pytest.raises(ValueError, match="multiple of 8 bytes"):
        check(tmp_path, content)


def test_variables_of_todays_matlab_are_passed_over(tmp_path):
    """A string or a table has no shape; SciPy reads the others all the same."""
    flags = element(6, struct.pack("<II", 17, 0))
    opaque = element(
        14, flags + element(1, b"s") + element(1, b"MCOS") + element(1, b"string") + matrix(6, (1, 1), b"", ONE)
    )
    content = HEADER + opaque + matrix(6, (1, 1), b"boxes", ONE)
    assert check(tmp_path, content) == ["boxes"] and check(tmp_path, content, None) == ["boxes"]
    assert scipy_io.loadmat(io.BytesIO(content), variable_names=["boxes"])["boxes"] == [[1.5]]
