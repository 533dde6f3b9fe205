"""The MATLAB formats, in the containers that MATLAB writes: cell arrays, and folders with a file for each image."""

import sys

from frcnn_alt.proposals import ProposalDatasetMapper, ProposalSetError, import_proposals

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given
from hypothesis import strategies as st
from oracles.proposal_files import by_score, continuous, flipped_in_matlab
from PIL import Image

savemat = pytest.importorskip("scipy.io", reason="scipy, which reads .mat files, is an optional package").savemat

WIDTH, HEIGHT = 60, 40
# y1, x1, y2, x2: the whole image, its first pixel, its last, one column at the right edge, a box equal to another
ROWS = [[1, 1, 40, 60], [1, 1, 1, 1], [40, 60, 40, 60], [11, 60, 30, 60], [3, 2, 9, 21], [3, 2, 9, 21]]


def dicts(*image_ids, **more):
    return [{"image_id": image_id, "width": WIDTH, "height": HEIGHT, **more} for image_id in image_ids]


def cells(values):
    """A MATLAB cell array of N x 1."""
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def save_selective_search(path, images, dtype=np.float64):
    boxes = [
        np.array(rows, dtype=dtype).reshape(len(rows), 4) if rows else np.zeros((0, 0)) for rows in images.values()
    ]
    savemat(path, {"boxes": cells(boxes), "images": cells(list(images))})
    return path


def test_selective_search_by_hand(tmp_path):
    path = save_selective_search(tmp_path / "voc_2007_test.mat", {"000005": ROWS, "000007": []})
    found = import_proposals(path, "selective_search", "toys", tmp_path / "set", dicts("000007", "000005"))
    assert found.image_ids == ["000007", "000005"]  # the order of the data set
    boxes, scores = found["000005"]
    expected = [[0, 0, 60, 40], [0, 0, 1, 1], [59, 39, 60, 40], [59, 10, 60, 30], [1, 2, 21, 9], [1, 2, 21, 9]]
    assert boxes.tolist() == expected
    assert scores.tolist() == [6, 5, 4, 3, 2, 1]  # strictly decreasing: nothing may reorder the priority
    assert found["000007"][0].shape == (0, 4) and found["000007"][1].shape == (0,)


@given(
    corners=st.lists(st.tuples(*[st.integers(1, 40)] * 4), min_size=1, max_size=12),
    dtype=st.sampled_from([np.uint16, np.int32, np.float32, np.float64]),
)
def test_selective_search_against_the_oracle(tmp_path_factory, corners, dtype):
    rows = [[min(a, b), min(c, d), max(a, b), max(c, d)] for a, b, c, d in corners]
    folder = tmp_path_factory.mktemp("selective_search")
    path = save_selective_search(folder / "toys.mat", {"1": rows}, dtype)
    boxes, scores = import_proposals(path, "selective_search", "toys", folder / "set", dicts("1"))["1"]
    assert boxes.tolist() == [continuous(row, "yxyx") for row in rows]
    assert (np.diff(scores) < 0).all()


def test_integers_below_one_do_not_wrap(tmp_path):
    path = save_selective_search(tmp_path / "toys.mat", {"1": [[0, 0, 40, 60]]}, np.uint16)
    found = import_proposals(path, "selective_search", "toys", tmp_path / "set", dicts("1"))
    assert found["1"][0].tolist() == [[-1, -1, 60, 40]]


@pytest.mark.parametrize(
    "file_format, columns", [("selective_search_ijcv", "xyxy"), ("coco_hosang", "xyxy"), ("coco_mcg", "yxyx")]
)
def test_a_file_for_each_image(tmp_path, file_format, columns):
    rows = [[3, 2, 21, 9], [1, 1, 40, 40], [5, 5, 5, 5]]
    expected = {
        "xyxy": [[2, 1, 21, 9], [0, 0, 40, 40], [4, 4, 5, 5]],
        "yxyx": [[1, 2, 9, 21], [0, 0, 40, 40], [4, 4, 5, 5]],
    }[columns]
    assert expected == [continuous(row, columns) for row in rows]
    (tmp_path / "boxes" / "nested").mkdir(parents=True)
    savemat(tmp_path / "boxes" / "000005.mat", {"boxes": np.array(rows, np.uint16), "labels": [1]})
    savemat(tmp_path / "boxes" / "nested" / "000007.mat", {"boxes": np.zeros((0, 4))})
    path = tmp_path / "boxes"
    found = import_proposals(path, file_format, "toys", tmp_path / "set", dicts("000005", "000007"))
    boxes, scores = found["000005"]
    assert boxes.tolist() == expected
    assert scores.tolist() == [3, 2, 1]
    assert len(found["000007"][0]) == 0


@pytest.mark.parametrize(
    "image", [{"image_id": 447991}, {"image_id": "x", "file_name": "a/COCO_val2014_000000447991.jpg"}]
)
def test_coco_files_by_id_or_by_file_name(tmp_path, image):
    file = tmp_path / "mat/COCO_val2014_0/COCO_val2014_000000447/COCO_val2014_000000447991.mat"
    file.parent.mkdir(parents=True)
    savemat(file, {"boxes": [[3, 2, 21, 9]]})
    image = {"width": WIDTH, "height": HEIGHT, **image}
    found = import_proposals(tmp_path / "mat", "coco_hosang", "coco", tmp_path / "set", [image])
    assert found[image["image_id"]][0].tolist() == [[2, 1, 21, 9]]


RPN_ROWS = [[2.5, 3.25, 20.75, 9.5, 0.25], [1, 1, 60, 40, 0.75], [5, 6, 7, 8, 0.5]]  # left, top, right, bottom


@pytest.mark.parametrize("named", [False, True])
def test_rpn_of_the_matlab_release(tmp_path, named):
    other = np.array([[1, 1, 1, 1, 0.5]], np.float32)
    content = {"aboxes": cells([np.array(RPN_ROWS, np.float32), other])}
    if named:
        content = {"boxes": content["aboxes"][::-1], "images": cells(["VOC2007/000007.jpg", "000005"])}
    savemat(tmp_path / "rpn.mat", content)
    images = [*dicts("000005"), *dicts("000007", file_name="JPEGImages/000007.jpg")]
    found = import_proposals(tmp_path / "rpn.mat", "matlab_rpn", "voc", tmp_path / "set", images)
    boxes, scores = found["000005"]
    order = by_score([row[4] for row in RPN_ROWS])
    assert boxes.tolist() == [continuous(RPN_ROWS[number]) for number in order]
    assert boxes[0].tolist() == [0, 0, 60, 40] and boxes[2].tolist() == [1.5, 2.25, 20.75, 9.5]
    assert scores.tolist() == [0.75, 0.5, 0.25]  # the confidence
    assert found["000007"][0].tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("count, hint", [(3, r"has 3 images, and voc 2\.$"), (4, "mirror image")])
def test_rpn_without_names_needs_the_images_of_the_data_set(tmp_path, count, hint):
    savemat(tmp_path / "rpn.mat", {"aboxes": cells([np.array(RPN_ROWS)] * count)})
    with pytest.raises(ProposalSetError, match=hint):
        import_proposals(tmp_path / "rpn.mat", "matlab_rpn", "voc", tmp_path / "set", dicts("1", "2"))


def test_flipped_as_in_the_matlab_release(tmp_path):
    rows = [[1, 1, 60, 40], [2, 3, 21, 9], [60, 1, 60, 1], [1, 5, 1, 6]]  # x1, y1, x2, y2
    path = save_selective_search(tmp_path / "toys.mat", {"7": [[y1, x1, y2, x2] for x1, y1, x2, y2 in rows]})
    found = import_proposals(path, "selective_search", "toys", tmp_path / "set", dicts("7"))
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "7.png")
    mapper = ProposalDatasetMapper(
        is_train=True,
        augmentations=[T.RandomFlip(1.0)],
        image_format="BGR",
        proposal_sets={"toys": found},
        precomputed_proposal_topk=2000,
    )
    mapped = mapper(dicts("7", file_name=str(tmp_path / "7.png"))[0])["proposals"]
    expected = [continuous(flipped_in_matlab(row, WIDTH)) for row in rows]
    assert mapped.proposal_boxes.tensor.tolist() == expected
    assert expected[2] == [0, 0, 1, 1]  # the last column is the first of the mirror image


@pytest.mark.parametrize(
    "content, complaint",
    [
        ({"images": cells(["1"])}, "has no variable `boxes`"),
        ({"boxes": cells([np.ones((1, 4))])}, "has no variable `images`"),
        ({"boxes": np.ones((1, 4)), "images": cells(["1"])}, r"no cell array .* float64 of shape \(1, 4\).*folder"),
        ({"boxes": cells([np.ones((1, 4))]), "images": cells(["1", "2"])}, "2 names, and there are boxes of 1 images"),
        ({"boxes": cells([np.ones((2, 5))]), "images": cells(["1"])}, r"image 1: R x 4 numbers .*\(2, 5\)"),
        ({"boxes": cells(["text"]), "images": cells(["1"])}, "image 1: R x 4 numbers expected"),
    ],
)
def test_not_a_selective_search_file(tmp_path, content, complaint):
    savemat(tmp_path / "toys.mat", content)
    with pytest.raises(ProposalSetError, match=f"toys.mat.*{complaint}"):
        import_proposals(tmp_path / "toys.mat", "selective_search", "toys", tmp_path / "set", dicts("1"))


def test_not_a_folder_of_files(tmp_path):
    savemat(tmp_path / "1.mat", {"windows": [1]})
    with pytest.raises(ProposalSetError, match="1.mat has no variable `boxes`"):
        import_proposals(tmp_path, "coco_mcg", "toys", tmp_path / "set", dicts("1"))
    with pytest.raises(ProposalSetError, match="1.mat has to be a folder with a .mat file for each image"):
        import_proposals(tmp_path / "1.mat", "coco_mcg", "toys", tmp_path / "set", dicts("1"))


@pytest.mark.parametrize(
    "content, complaint",
    [
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n".ljust(512), "7.3 .*'-v7'"),
        (b"no such thing" * 20, "cannot be read as a MATLAB file"),
        (b"", "cannot be read as a MATLAB file"),
    ],
)
def test_files_that_scipy_does_not_read(tmp_path, content, complaint):
    (tmp_path / "toys.mat").write_bytes(content)
    with pytest.raises(ProposalSetError, match=f"toys.mat .*{complaint}"):
        import_proposals(tmp_path / "toys.mat", "selective_search", "toys", tmp_path / "set", dicts("1"))


def test_without_scipy_says_what_to_install(tmp_path, monkeypatch):
    path = save_selective_search(tmp_path / "toys.mat", {"1": ROWS})
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ProposalSetError, match="toys.mat .*pip install scipy"):
        import_proposals(path, "selective_search", "toys", tmp_path / "set", dicts("1"))
