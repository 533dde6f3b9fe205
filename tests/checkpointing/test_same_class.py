"""Which class is which: by name, by the two names that COCO and VOC have for one thing, by what a person says."""

import random

from frcnn_alt.checkpointing import CheckpointError, first_difference, rows_of_classes
from frcnn_alt.checkpointing.same_class import COCO_NAMES

import pytest
from detectron2.data import MetadataCatalog

# Of VOC's classes, in alphabetical order, the places in the list of COCO's 80, from 0 on, as counted by hand.
PLACES_IN_COCO = [4, 1, 14, 8, 39, 5, 2, 15, 56, 19, 60, 16, 17, 3, 0, 58, 18, 57, 6, 62]


def voc():
    return list(MetadataCatalog.get("voc_2007_test").thing_classes)


def coco():
    return list(MetadataCatalog.get("coco_2014_train").thing_classes)


def test_vocs_classes_among_cocos():
    assert len(coco()) == 80
    assert rows_of_classes(voc(), coco()) == PLACES_IN_COCO
    called = {name: coco()[place] for name, place in zip(voc(), PLACES_IN_COCO)}
    assert {name: other for name, other in called.items() if name != other} == COCO_NAMES


def test_both_ways_and_in_any_order():
    in_cocos_words = [coco()[place] for place in PLACES_IN_COCO]
    random.Random(0).shuffle(in_cocos_words)
    rows = rows_of_classes(in_cocos_words, voc())
    assert sorted(rows) == list(range(20))
    assert [PLACES_IN_COCO[row] for row in rows] == [coco().index(name) for name in in_cocos_words]


def test_a_name_of_its_own_comes_before_the_other_name():
    assert rows_of_classes(["tv", "tvmonitor"], ["tvmonitor", "tv"]) == [1, 0]


def test_what_a_person_says_comes_before_all():
    assert rows_of_classes(["sofa", "lorry"], ["couch", "bench", "truck"], {"sofa": "bench", "lorry": "truck"}) == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    "wanted, synonyms, parts",
    [
        (["cat", "dogs"], {}, ["no class 'dogs'", "Near it are dog", "--synonym 'dogs=", "cat, dog, couch"]),
        (["zebra"], {}, ["no class 'zebra'. Where"]),  # and nothing near it
        (["TV"], {"TV": "television"}, ["no class 'television'"]),
        (["cat", "dog", "cat"], {}, ["cat twice"]),
        (["sofa", "couch"], {}, ["'sofa' and 'couch' would both be the detector's 'couch'"]),
        (["cat", "pet"], {"pet": "cat"}, ["'cat' and 'pet' would both be"]),
        (["__background__", "cat"], {}, ["'__background__'", "leave it out"]),
        (["cat", "background"], {}, ["'background'", "leave it out"]),
        (["cat"], {"dog": "cat"}, ["'dog', which is not among"]),
        ([], {}, ["are none"]),
    ],
)
def test_mistakes(wanted, synonyms, parts):
    with pytest.raises(CheckpointError) as error:
        rows_of_classes(wanted, ["cat", "dog", "couch"], synonyms)
    assert all(part in str(error.value) for part in parts), error.value


def test_a_class_that_is_really_called_background_is_one():
    assert rows_of_classes(["background"], ["cat", "background"]) == [1]


@pytest.mark.parametrize(
    "ours, theirs, expected",
    [
        (["cat", "sofa"], ["cat", "couch"], None),
        (["couch"], ["sofa"], None),
        ([], [], None),
        (["cat", "dog"], ["dog", "cat"], (0, "'cat'", "'dog'")),
        (["cat", "dog"], ["cat"], (1, "'dog'", "none")),
        (["cat"], ["cat", "none"], (1, "none", "'none'")),
    ],
)
def test_first_difference(ours, theirs, expected):
    assert first_difference(ours, theirs) == expected
