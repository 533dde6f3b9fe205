"""The place of this process among those that torchrun has started, and the group that they make."""

import os
from dataclasses import dataclass
from typing import Callable, Optional

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from ..compat import create_local_process_group
from .defaults import ConfigError

__all__ = ["Torchrun"]

_REQUIRED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Torchrun:
    """What torchrun says in the environment of each process.

    Attributes:
        rank: of this process among all.
        world_size: how many there are.
        local_rank: of this process among those on this machine.
        local_world_size: how many there are on this machine.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int

    @classmethod
    def from_environment(cls) -> Optional["Torchrun"]:
        """Read RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; None without the first two.

        Raises:
            ConfigError: one of the others is not set, or one is no number.
        """
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return None
        values = [os.environ.get(name, "") for name in _REQUIRED]
        wrong = [name for name, value in zip(_REQUIRED, values) if not value.isdecimal()]
        if wrong:
            raise ConfigError(
                f"RANK and WORLD_SIZE are in the environment, as if torchrun had started this process, but "
                f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} no number there: start it with torchrun, "
                "or unset RANK and WORLD_SIZE."
            )
        return cls(*map(int, values))

    def join_group(self) -> Callable[[int], bool]:
        """Join the others, over nccl with a GPU for each process, or else over gloo.

        Returns:
            A function that is true for the first process that calls it, and false for all that come later; for
            `guarded`.
        """
        on_gpus = torch.cuda.is_available()
        if on_gpus:
            torch.cuda.set_device(self.local_rank)
        store, rank, world_size = next(rendezvous("env://"))
        distributed.init_process_group("nccl" if on_gpus else "gloo", store=store, rank=rank, world_size=world_size)
        create_local_process_group(self.local_world_size)

        def is_first(status: int) -> bool:
            try:
                return store.add("frcnn_alt/failed", 1) == 1
            except RuntimeError:  # gone, with the process that kept it, which may not have had the time to speak
                return True

        return is_first
