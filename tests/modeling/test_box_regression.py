import copy

from frcnn_alt.modeling.box_regression import BoxRegressionStatistics, NormalizedBox2BoxTransform

import numpy as np
import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from hypothesis import given
from hypothesis import strategies as st
from oracles.box_statistics import mirrored
from oracles.fast_rcnn_boxes import encode


def random_boxes(random, count):
    corners = random.rand(count, 2) * 300
    return np.concatenate([corners, corners + 20 + random.rand(count, 2) * 200], axis=1)


def jittered(random, boxes):
    return boxes + random.randn(*boxes.shape) * 5


def encoded(src, target, weights=(1, 1, 1, 1)):
    return np.array([encode(*boxes) for boxes in zip(src, target)]) * weights


def tensor(array):
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


@pytest.fixture
def statistics():
    return tensor(np.arange(12).reshape(3, 4) / 50 - 0.1), tensor(np.arange(1, 13).reshape(3, 4) / 40)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_deltas_are_normalised_by_the_row_of_the_class(statistics, weights):
    random = np.random.RandomState(0)
    src = random_boxes(random, 50)
    target = jittered(random, src)
    classes = random.randint(0, 3, 50)
    transform = NormalizedBox2BoxTransform(weights, num_classes=3)
    transform.set_statistics(*statistics)
    mean, std = (value.numpy() for value in statistics)
    expected = (encoded(src, target, weights) - mean[classes]) / std[classes]
    actual = transform.get_deltas(tensor(src), tensor(target), torch.from_numpy(classes))
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10**6), count=st.integers(0, 5), rows=st.integers(1, 4))
def test_applying_undoes_getting(seed, count, rows):
    random = np.random.RandomState(seed)
    src = random_boxes(random, count)
    target = jittered(random, src)
    transform = NormalizedBox2BoxTransform(num_classes=rows)
    transform.set_statistics(random.randn(rows, 4), random.rand(rows, 4) + 0.05)
    columns = [
        transform.get_deltas(tensor(src), tensor(target), torch.full((count,), row, dtype=torch.int64))
        for row in range(rows)
    ]
    boxes = transform.apply_deltas(torch.cat(columns, dim=1), tensor(src))
    assert boxes.shape == (count, 4 * rows)
    np.testing.assert_allclose(boxes.numpy(), np.tile(target, rows), rtol=1e-4, atol=1e-2)


def test_new_transform_is_that_of_detectron2():
    random = np.random.RandomState(0)
    src = tensor(random_boxes(random, 20))
    target = tensor(jittered(random, src.numpy()))
    ours, theirs = NormalizedBox2BoxTransform((10, 10, 5, 5)), Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    deltas = theirs.get_deltas(src, target)
    assert torch.equal(ours.get_deltas(src, target), deltas)
    assert torch.equal(ours.apply_deltas(deltas, src), theirs.apply_deltas(deltas, src))


def test_one_row_serves_any_number_of_columns():
    """The RPN decodes (R, 4) with its one row; so may class-agnostic heads."""
    transform = NormalizedBox2BoxTransform(num_classes=1)
    transform.set_statistics([[0.1, 0.0, 0.0, 0.0]], [[0.5, 1.0, 1.0, 1.0]])
    boxes = transform.apply_deltas(torch.zeros(1, 8), torch.tensor([[0.0, 0.0, 100.0, 50.0]]))
    torch.testing.assert_close(boxes, torch.tensor([[10.0, 0.0, 110.0, 50.0] * 2]))


def test_statistics_travel_in_the_state_dict(statistics):
    transform = NormalizedBox2BoxTransform(num_classes=3)
    transform.set_statistics(*statistics)
    other = NormalizedBox2BoxTransform(num_classes=3)
    other.load_state_dict(transform.state_dict())
    assert set(transform.state_dict()) == {"mean", "std"}
    assert torch.equal(other.mean, statistics[0])
    assert torch.equal(other.std, statistics[1])
    assert torch.equal(copy.deepcopy(transform).std, statistics[1])
    assert len(transform.weights) == 4


@pytest.mark.parametrize(
    "mean, std, message",
    [
        (np.zeros((2, 4)), np.ones((3, 4)), "mean must have the shape"),
        (np.zeros((3, 4)), np.ones((3, 5)), "std must have the shape"),
        (np.full((3, 4), np.nan), np.ones((3, 4)), "mean must be finite"),
        (np.zeros((3, 4)), np.zeros((3, 4)), "std must be positive"),
    ],
)
def test_wrong_statistics_are_refused_and_change_nothing(mean, std, message):
    transform = NormalizedBox2BoxTransform(num_classes=3)
    with pytest.raises(ValueError, match=message):
        transform.set_statistics(mean, std)
    assert torch.equal(transform.mean, torch.zeros(3, 4))
    assert torch.equal(transform.std, torch.ones(3, 4))


def test_missing_classes_and_wrong_columns_are_refused():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    transform = NormalizedBox2BoxTransform(num_classes=3)
    with pytest.raises(ValueError, match="get_deltas needs the classes"):
        transform.get_deltas(boxes, boxes)
    with pytest.raises(ValueError, match="do not fit box statistics of 3 classes"):
        transform.apply_deltas(torch.zeros(1, 8), boxes)
    with pytest.raises(ValueError, match="update needs the classes"):
        transform.new_statistics().update(boxes, boxes)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_measured_statistics_are_those_of_samples_and_mirror_images(weights):
    random = np.random.RandomState(0)
    src = random_boxes(random, 120)
    target = jittered(random, src) + [3, 1, 9, -2]
    classes = random.choice([0, 2, 3], 120)  # class 1 has no samples
    samples = encoded(
        np.concatenate([src, mirrored(src, 640)]), np.concatenate([target, mirrored(target, 640)]), weights
    )

    measured = BoxRegressionStatistics(num_classes=4, weights=weights)
    for start in range(0, 120, 25):
        part = slice(start, start + 25)
        measured.update(tensor(src[part]), tensor(target[part]), torch.from_numpy(classes[part]))
    mean, std = measured.finish()

    for row in (0, 2, 3):
        of_class = samples[np.tile(classes, 2) == row]
        np.testing.assert_allclose(mean[row].numpy(), of_class.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(std[row].numpy(), of_class.std(axis=0), rtol=1e-4)
    assert mean[1].tolist() == [0, 0, 0, 0]
    assert std[1].tolist() == [1, 1, 1, 1]


def test_normalised_training_targets_have_mean_0_and_deviation_1():
    random = np.random.RandomState(1)
    src = random_boxes(random, 200)
    target = jittered(random, src) + [0, 4, 0, 9]
    transform = NormalizedBox2BoxTransform(num_classes=1)
    measured = transform.new_statistics()
    measured.update(tensor(src), tensor(target))
    transform.set_statistics(*measured.finish())
    both = np.concatenate([src, mirrored(src, 640)]), np.concatenate([target, mirrored(target, 640)])
    targets = transform.get_deltas(tensor(both[0]), tensor(both[1])).numpy()
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(targets.std(axis=0), 1, atol=1e-3)


def test_one_row_takes_samples_of_all_classes():
    boxes = tensor([[0, 0, 10, 10], [0, 0, 10, 10]])
    moved = tensor([[0, 1, 10, 11], [0, 3, 10, 13]])
    measured = BoxRegressionStatistics(num_classes=1)
    measured.update(boxes, moved, torch.tensor([0, 7]))
    mean, std = measured.finish()
    assert mean[0].tolist() == pytest.approx([0, 0.2, 0, 0])
    assert std[0, 1].item() == pytest.approx(0.1)


def test_identical_samples_keep_a_usable_deviation():
    """A class whose only regions are its own ground truth: the targets are 0 and must stay so."""
    boxes = tensor([[3.3, 4.7, 50.1, 90.9]]).expand(5, 4)
    transform = NormalizedBox2BoxTransform(num_classes=1)
    measured = transform.new_statistics()
    measured.update(boxes, boxes)
    transform.set_statistics(*measured.finish())
    assert (transform.std > 0).all()
    assert transform.get_deltas(boxes, boxes).abs().max() < 1e-3


def test_nothing_to_count():
    measured = BoxRegressionStatistics(num_classes=2)
    measured.update(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    mean, std = measured.finish()
    assert torch.equal(mean, torch.zeros(2, 4))
    assert torch.equal(std, torch.ones(2, 4))


@pytest.mark.parametrize("bad", [[5, 5, 5, 9], [5, 9, 8, 8], [5, 5, float("nan"), 9]])
@pytest.mark.parametrize("swap", [False, True])
def test_box_without_area_is_named(bad, swap):
    boxes = [tensor([[0, 0, 9, 9], [0, 0, 10, 10]]), tensor([[0, 0, 8, 8], bad])]
    with pytest.raises(ValueError, match=r"no area.*: \[5.0, [59].0, "):
        BoxRegressionStatistics().update(*(reversed(boxes) if swap else boxes))
