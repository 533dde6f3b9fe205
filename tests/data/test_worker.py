"""Workers of a data loader leave signals to the training process, and end when that says so, or ends."""

import os
import signal
import time

from frcnn_alt.data import begin_worker

import torch
from torch.utils.data import DataLoader


class Processes(torch.utils.data.Dataset):
    """Item i is the process that computes it."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return os.getpid()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_signals_of_others_do_not_end_workers_and_their_parents_does(capfd):
    loader = DataLoader(Processes(), num_workers=2, worker_init_fn=begin_worker, persistent_workers=True)
    batches = iter(loader)
    workers = {next(batches).item(), next(batches).item()}
    assert len(workers) == 2 and os.getpid() not in workers
    stranger = os.fork()
    if stranger == 0:
        for worker in workers:
            os.kill(worker, signal.SIGINT)
            os.kill(worker, signal.SIGTERM)
        os._exit(0)
    os.waitpid(stranger, 0)
    time.sleep(0.2)
    assert {batch.item() for batch in batches} == workers
    last, until = workers.pop(), time.monotonic() + 30
    os.kill(last, signal.SIGTERM)
    while is_alive(last) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(last)
    del batches, loader
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_computes_on_one_thread():
    class Threads(Processes):
        def __getitem__(self, index):
            return torch.get_num_threads()

    assert set(DataLoader(Threads(), num_workers=1, worker_init_fn=begin_worker, batch_size=None)) == {1}
