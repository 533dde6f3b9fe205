"""Reading the XML of an annotation file that may come from anywhere.

Python's parser opens no external entity. It expands those that a file defines itself, though, and some versions of it
to any length ("billion laughs"); annotations define none, so that a file which does is refused.
"""

import xml.etree.ElementTree as ET

__all__ = ["read_xml"]


def read_xml(path: str) -> ET.Element:
    """Read an XML file; returns its root.

    Raises:
        OSError: it cannot be opened.
        ValueError: it does not parse, is in an unknown encoding, or defines entities.
    """
    with open(path, "rb") as file:
        content = file.read()
    if b"<!ENTITY" in content.replace(b"\0", b""):  # in UTF-16 every other byte is 0
        raise ValueError(
            "it defines entities (<!ENTITY>), which no annotation needs and which can stand for any length"
        )
    try:
        return ET.fromstring(content)
    except (ET.ParseError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise ValueError(str(error)) from error
