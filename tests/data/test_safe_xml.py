"""Annotations cannot stand for more than they are, nor for other files; whatever encoding they claim."""

import tracemalloc

from frcnn_alt.data.problems import IMAGE
from frcnn_alt.data.safe_xml import read_xml
from frcnn_alt.data.voc_layout import read_voc_layout

import pytest
from voc_files import voc_annotation, write_image

LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi"))


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("entities", [f'<!ENTITY a "ha">{LAUGHS}', '<!ENTITY i SYSTEM "secret.txt">'])
def test_entities_are_refused(tmp_path, entities, encoding):
    (tmp_path / "secret.txt").write_text("secret")
    path = write(tmp_path / "a.xml", f"<!DOCTYPE x [{entities}]><x>&i;</x>", encoding)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="defines entities"):
            read_xml(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_five_of_xml_itself_are_read(tmp_path):
    assert read_xml(write(tmp_path / "a.xml", "<x>&lt;&amp;&#65;</x>")).text == "<&A"
    assert read_xml(write(tmp_path / "b.xml", "<x>caf\u00e9</x>", "utf-16")).text == "caf\u00e9"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a>",
        "<?xml version='1.0' encoding='nonsense'?><a/>",
        "<?xml version='1.0' encoding='utf-7'?><a/>",
        "<a>\0</a>",
    ],
)
def test_everything_else_is_one_error(tmp_path, text):
    with pytest.raises(ValueError):
        read_xml(write(tmp_path / "a.xml", text))


@pytest.fixture
def folder(tmp_path):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    write_image(tmp_path / "JPEGImages" / "a.jpg", (60, 40))
    (tmp_path / "Annotations" / "a.xml").write_text(voc_annotation([("cat", 2, 3, 20, 30)], (60, 40)))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    return tmp_path


def test_such_an_annotation_is_listed_with_its_file(folder):
    write(folder / "Annotations" / "a.xml", f'<!DOCTYPE x [<!ENTITY a "ha">{LAUGHS}]><annotation>&i;</annotation>')
    dicts, problems = read_voc_layout(str(folder), "train", ["cat"])
    assert dicts == [] and [(p.kind, p.scope) for p in problems] == [("XML that does not parse", IMAGE)]
    assert problems[0].file.endswith("a.xml") and "entities" in problems[0].detail


@pytest.mark.parametrize("size", ["inf", "1e999", "-5", "x", "nan"])
def test_sizes_that_are_none_are_listed(folder, size):
    text = (folder / "Annotations" / "a.xml").read_text().replace("<width>60", f"<width>{size}")
    (folder / "Annotations" / "a.xml").write_text(text)
    dicts, problems = read_voc_layout(str(folder), "train", ["cat"])
    assert dicts == [] and problems[0].kind == "size that disagrees with the image"


def test_a_split_that_is_no_text_is_listed(folder):
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(b"a\xff\n")
    dicts, problems = read_voc_layout(str(folder), "train", ["cat"])
    assert dicts == [] and problems[0].kind == "split that is no text" and problems[0].file.endswith("train.txt")
