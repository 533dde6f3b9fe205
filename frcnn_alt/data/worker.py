"""What a worker of a data loader does first: compute on one thread, and leave signals to the training process."""

import multiprocessing
import os
import signal
import threading

import torch

__all__ = ["begin_worker"]


def begin_worker(worker: int) -> None:
    """``worker_init_fn`` of a DataLoader.

    Ctrl-C, and SIGTERM of a job scheduler, reach all processes of a command. A worker that they end would take the
    training with it before that has written its checkpoint; so a worker is ended by its own parent alone.
    """
    torch.set_num_threads(1)  # workers must not compete with the training process for its cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_at_word_of_parent, daemon=True).start()


def _end_at_word_of_parent() -> None:
    parent = multiprocessing.parent_process().pid
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)  # what torch's own handler does: another status would be an error in the training process
