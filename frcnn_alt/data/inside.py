"""Names of files that stand in a data set's own files, which may lead anywhere: only those inside its folder are used.

Otherwise somebody else's annotations decide which files of this machine are opened, and what is seen in the pictures of
a report. Links are followed, wherever they lead: data sets of links to images are common, and a link is made by whoever
puts a folder in its place, not by what is written in a file.
"""

import os

__all__ = ["leads_outside"]


def leads_outside(name: str, folder: str) -> bool:
    """Whether `name`, as it stands in a file, is a path to somewhere outside `folder`: by "..", or as an absolute one.

    Args:
        name: relative to `folder`, or absolute; one that lies inside `folder` is in order, however it is written.
        folder: where names are looked for.
    """
    if not os.path.isabs(name) and os.pardir not in name.split(os.sep):
        return False  # as nearly all are, of which there are many
    top = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(top, name))
    # Absolute names may be written with the folder's own name or, where that is a link, with what it leads to.
    tops = {top, os.path.realpath(folder)}
    return not any(path == one or path.startswith(one.rstrip(os.sep) + os.sep) for one in tops)
