"""detectron2's checkpointer, made crash-safe: files are written beside and renamed, and nothing untrusted is unpickled.

Overridden are only the two places where fvcore touches the file system (`save`, `_load_file`); naming, resume,
`last_checkpoint` and the loading of models are detectron2's.
"""

import os
from typing import Any, Dict

from detectron2.checkpoint import DetectionCheckpointer

from .read import read_checkpoint, write_checkpoint

__all__ = ["SafeCheckpointer"]


class SafeCheckpointer(DetectionCheckpointer):
    """DetectionCheckpointer whose files are either the old or the new one after a crash (DESIGN 4.5, 4.7)."""

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` with the model, the checkpointables and `kwargs`.

        Raises:
            OSError: the file cannot be written (disk full, folder gone); the earlier checkpoint stays usable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: checkpointable.state_dict() for key, checkpointable in self.checkpointables.items()})
        data.update(kwargs)
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        write_checkpoint(data, path)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Point ``last_checkpoint`` at a file of the same folder, in one rename."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        with open(f"{path}.partial", "w") as file:
            file.write(last_filename_basename)
        os.replace(f"{path}.partial", path)

    def _load_file(self, filename: str) -> Dict[str, Any]:
        return read_checkpoint(filename)
