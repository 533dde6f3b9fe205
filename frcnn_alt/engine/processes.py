"""On which processes a command runs: one; those that detectron2's flags ask for; those that torchrun has started.

Without CUDA the same flags start processes on the CPU, which talk over gloo and share the cores. Whatever way they were
started, the processes end together: where one fails or is killed, the others are ended, and the command says why.
"""

import argparse
import functools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import Any, Callable, List, Optional

import torch
from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm
from torch import distributed
from torch.multiprocessing import ProcessExitedException, start_processes

from ..compat import create_local_process_group, forget_process_groups
from .defaults import ConfigError
from .failures import MISTAKE, first_to_fail, guarded, how_to_go_on
from .started_processes import no_child_left, signals_passed_on, start_fork_server
from .stopping import Stopped
from .torchrun import Torchrun
from .world_size import planned_for

__all__ = ["log_processes", "run_on_processes"]

logger = logging.getLogger(__name__)

Function = Callable[[argparse.Namespace], int]

_SECONDS_FOR_A_CHECKPOINT = 180.0  # one of VGG-16 has 1 GB, and the file system may be slow


def log_processes() -> None:
    """Log, if there are several processes, how many and what they run on."""
    if comm.get_world_size() == 1:
        return
    where = "on a GPU each" if torch.cuda.is_available() else "on the CPU, for there is no GPU here"
    logger.info(
        "%d processes %s; they talk over %s, threads of each: %d",
        comm.get_world_size(),
        where,
        distributed.get_backend(),
        torch.get_num_threads(),
    )


def run_on_processes(function: Function, args: argparse.Namespace) -> int:
    """Run ``function(args)`` on the processes that the flags or torchrun ask for.

    Args:
        function: returns an exit status; picklable, for the processes may be started here.
        args: with detectron2's ``num_gpus``, ``num_machines``, ``machine_rank`` and ``dist_url``. With ``dry_run`` true
            `function` is run once, in this process, where `number_of_processes` is the number asked for.

    Returns:
        int: 0, or the exit status of the process that failed first (128 and the number of the signal that killed it).
        Why it failed has been said.

    Raises:
        ConfigError: torchrun and the flags contradict each other or the machine.
    """
    torchrun = Torchrun.from_environment()
    contradiction = _contradiction(torchrun, args)
    if contradiction and torchrun and torchrun.rank > 0:
        return MISTAKE  # as all the others; the first says so
    if contradiction:
        raise ConfigError(contradiction)
    asked = max(args.num_gpus * args.num_machines, 1)
    if getattr(args, "dry_run", False):
        if torchrun and torchrun.rank > 0:
            return 0
        with planned_for(torchrun.world_size if torchrun else asked):
            return function(args)
    if torchrun:
        return _run_in_group(function, args, torchrun.join_group())
    return _start(function, args) if asked > 1 else function(args)


def _contradiction(torchrun: Optional[Torchrun], args: argparse.Namespace) -> Optional[str]:
    asked = args.num_gpus * args.num_machines
    if torchrun and asked > 1:
        return (
            f"torchrun has started {torchrun.world_size} processes, and --num-gpus {args.num_gpus} --num-machines "
            f"{args.num_machines} asks each of them for {asked}: leave these flags out, or start without torchrun."
        )
    if torchrun and torchrun.world_size % torchrun.local_world_size:
        return (
            f"torchrun has started {torchrun.world_size} processes, {torchrun.local_world_size} of them on one "
            "machine: give every machine the same --nproc-per-node."
        )
    if asked > 1 and not 0 <= args.machine_rank < args.num_machines:
        return f"--machine-rank {args.machine_rank}: it counts --num-machines {args.num_machines} from 0."
    here = torchrun.local_world_size if torchrun else args.num_gpus if asked > 1 else 1
    if here > torch.cuda.device_count() > 0 and not getattr(args, "dry_run", False):
        return (
            f"{here} processes on this machine, which has {torch.cuda.device_count()} GPUs: start one a GPU, or all on "
            "the CPU with CUDA_VISIBLE_DEVICES='' in the environment."
        )
    return None


def _run_in_group(function: Function, args: argparse.Namespace, may_speak: Callable[[int], bool]) -> int:
    def run() -> int:
        status = function(args)
        if status == 0:  # else the others may be anywhere, and to leave in good order is to wait for them
            comm.synchronize()
            distributed.destroy_process_group()
            forget_process_groups()
        return status

    together: List[bool] = []

    def run_or_stop() -> int:
        try:
            return run()
        except Stopped as stopped:
            if stopped.has_checkpoint:  # the others are here as well: nobody is ended while it still writes something
                comm.synchronize()
                together.append(True)
            raise

    status = guarded(run_or_stop, may_speak, args)
    if together:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torch ends the others, which are ending anyway
    return status


def _start(function: Function, args: argparse.Namespace) -> int:
    """Start this machine's processes and wait for them."""
    url = args.dist_url
    if args.num_machines == 1 and url == default_argument_parser().get_default("dist_url"):
        url = f"tcp://127.0.0.1:{_free_port()}"
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it warns that it ends the others
    with tempfile.TemporaryDirectory() as folder, no_child_left() as children, signals_passed_on(children) as signals:
        failed = os.path.join(folder, "failed")
        work = (function, args, failed, multiprocessing.get_start_method())
        try:
            if torch.cuda.is_available():
                launch(_started_process, args.num_gpus, args.num_machines, args.machine_rank, url, work)
            else:
                # Forked from a process that has the imports behind it.
                multiprocessing.get_context("forkserver").set_forkserver_preload([__package__])
                start_fork_server()
                threads = max(1, torch.get_num_threads() // args.num_gpus)
                start_processes(
                    _started_process_on_cpu, (threads, url, *work), args.num_gpus, start_method="forkserver"
                )
        except ProcessExitedException as error:
            if signals and not os.path.exists(failed):  # before a process could say something itself
                print(f"{Stopped(signals[0])}{how_to_go_on(args)}", file=sys.stderr)
                return 128 + signals[0]
            return _status_of(error, args, failed)
        if signals and len(os.listdir(folder)) < args.num_gpus:  # torch has a process that SIGINT ends exit with 0
            raise Stopped(signals[0])
    return 0


def _status_of(error: ProcessExitedException, args: argparse.Namespace, failed: str) -> int:
    if error.exit_code >= 0 and os.path.exists(failed):  # the first to fail has said why
        with open(failed) as file:
            return int(file.read())
    if error.exit_code >= 0:
        return error.exit_code
    rank = args.machine_rank * args.num_gpus + error.error_index
    print(
        f"error: process {rank} was killed by {error.signal_name}; if nobody did that, the machine has run out of "
        "memory. The other processes were ended; the same command with --resume goes on from the last checkpoint.",
        file=sys.stderr,
    )
    return 128 - error.exit_code


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def _started_process(function: Function, args: argparse.Namespace, failed: str, start_method: str) -> None:
    """What a process does that was started here, once it is in its group.

    Args:
        failed: the file that the first process to fail creates.
        start_method: of the processes that it starts itself. Python has it use the way in which it was started, and
            the workers of every data loader would have to import everything anew.
    """
    multiprocessing.set_start_method(start_method, force=True)
    status = _run_in_group(function, args, functools.partial(first_to_fail, failed))
    if status:
        sys.exit(status)
    with open(os.path.join(os.path.dirname(failed), f"done{os.getpid()}"), "w"):
        pass  # for _start, which sees exit status 0 of a process that was interrupted as well


def _started_process_on_cpu(local_rank: int, threads: int, url: str, *work: Any) -> None:
    """What ``launch`` has a process do, without CUDA."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # see start_fork_server
    threading.Thread(target=_end_with_parent, daemon=True).start()
    args: argparse.Namespace = work[1]
    torch.set_num_threads(threads)
    rank, processes = args.machine_rank * args.num_gpus + local_rank, args.num_machines * args.num_gpus
    distributed.init_process_group("gloo", init_method=url, rank=rank, world_size=processes)
    create_local_process_group(args.num_gpus)
    _started_process(*work)


def _end_with_parent() -> None:
    """Wait until the command itself is killed, and end this process, which would go on without it."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECONDS_FOR_A_CHECKPOINT)
    os.kill(os.getpid(), signal.SIGKILL)
