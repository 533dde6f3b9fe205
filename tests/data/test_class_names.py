"""Lists of class names: of data sets, of files, and what a word on a command line means."""

from frcnn_alt.data import DatasetError, class_names_of, read_class_list

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog


def test_well_known_lists():
    assert len(read_class_list("coco")) == 80 and read_class_list("coco")[0] == "person"
    assert len(read_class_list("voc")) == 20 and read_class_list("voc")[0] == "aeroplane"
    assert read_class_list("voc_2012_val") == read_class_list("voc")


@pytest.mark.usefixtures("own_catalogs")
def test_data_sets_of_ones_own():
    for name, metadata in {"named": {"thing_classes": ("b", "a")}, "nameless": {}}.items():
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(**metadata)
    assert class_names_of(["named", "nameless", "not registered"]) == {"named": ["b", "a"]}
    assert read_class_list("named") == ["b", "a"]
    with pytest.raises(DatasetError, match="'nameless' is registered without class names"):
        read_class_list("nameless")


def test_a_file(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\ufeffdining table\n\n  tv \n", encoding="utf-8")
    assert read_class_list(str(tmp_path / "names.txt")) == ["dining table", "tv"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voc").write_text("mine\n")
    assert len(read_class_list("voc")) == 20 and read_class_list("./voc") == ["mine"]


@pytest.mark.parametrize(
    "content, message",
    [(b"\n\n", "names no class"), (b"a\nb\na\n", "names twice: a"), (b"\xff\xfe\x00", "cannot be read as a list")],
)
def test_files_that_are_no_list(tmp_path, content, message):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        read_class_list(str(tmp_path / "names.txt"))
    assert "names.txt" in str(error.value)


def test_a_word_that_is_nothing():
    with pytest.raises(DatasetError, match="'voc_2007_tset' is no list of classes.*Did you mean voc_2007_test"):
        read_class_list("voc_2007_tset")
