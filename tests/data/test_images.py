"""Looking at image files: their size as detectron2 will read them, and which of them cannot be read."""

from frcnn_alt.data.images import check_image_files, image_size

from PIL import Image
from voc_files import write_image


def test_image_size_is_what_detectron2_reads(tmp_path):
    path = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    assert image_size(str(path)) == (40, 60)
    Image.new("RGB", (60, 40)).save(tmp_path / "plain.png")
    assert image_size(str(tmp_path / "plain.png")) == (60, 40)


def test_an_image_that_pillow_takes_for_an_attack_is_unreadable(tmp_path, monkeypatch):
    write_image(tmp_path / "a.jpg", (60, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert image_size(str(tmp_path / "a.jpg")) is None


def test_an_image_with_bytes_after_its_end_is_readable(tmp_path):
    path = tmp_path / "long.jpg"
    write_image(path, (60, 40))
    path.write_bytes(path.read_bytes() + b"\0" * 10000)
    assert image_size(str(path)) == (60, 40)


def test_many_images_show_progress(tmp_path, capsys):
    write_image(tmp_path / "a.jpg", (8, 8))
    records = [{"file_name": str(tmp_path / "a.jpg"), "image_id": i, "width": 8, "height": 8} for i in range(400)]
    assert check_image_files(records, "many") == []
    assert "Checking the images of many" in capsys.readouterr().err
    assert check_image_files(records[:10], "few") == []
    assert "few" not in capsys.readouterr().err
