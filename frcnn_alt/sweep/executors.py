"""Where the tasks of a sweep run: as processes of this machine, one for each GPU, or as jobs of a cluster.

Both start a command line, tell whether it has ended, and can stop it. None outlives the sweep: two sweeps of one folder
would train into it together.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import IO, Any, Dict, List, Mapping, Optional, Protocol, Sequence

import torch

from ..engine import ConfigError
from ..safe_write import naming_errors, write_text
from .tasks import Task

__all__ = ["ClusterExecutor", "Executor", "LocalExecutor"]

# How long a stopped task may take to end by itself, in seconds: to finish an iteration and write a checkpoint, which
# for VGG-16 has 1 GB.
PATIENCE = 180
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Executor(Protocol):
    """Runs tasks beside one another."""

    def has_room(self) -> bool:
        """Whether another task can be started now."""

    def start(self, task: Task, log: str) -> None:
        """Start a task; what it prints goes to the file `log`."""

    def ended(self) -> Dict[str, int]:
        """Name -> exit status of the tasks that have ended since it was asked last."""

    def stop(self) -> None:
        """End all that runs."""


def _end_with_parent() -> None:
    """In a new process: be told to end when the sweep is killed (on Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class LocalExecutor:
    """Processes of this machine. Each gets a GPU of its own, where there are any, and a share of the CPU cores.

    Args:
        jobs: how many run at a time; None is one for each GPU, or one.
        devices: names of the GPUs as CUDA_VISIBLE_DEVICES has them; None is those that are visible.
    """

    def __init__(self, jobs: Optional[int] = None, devices: Optional[Sequence[str]] = None):
        if devices is None:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            count = torch.cuda.device_count()
            devices = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
        self.devices = list(devices)
        self.jobs = jobs or max(len(self.devices), 1)
        self._running: Dict[str, subprocess.Popen] = {}
        self._logs: Dict[str, IO[bytes]] = {}
        self._slots: Dict[str, int] = {}

    def has_room(self) -> bool:
        return len(self._running) < self.jobs

    def start(self, task: Task, log: str) -> None:
        slot = min(set(range(self.jobs)) - set(self._slots.values()))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // self.jobs, 1)))
        with naming_errors(log):
            self._logs[task.name] = open(log, "wb")  # noqa: SIM115  closed when the task has ended
        self._running[task.name] = subprocess.Popen(
            [sys.executable, *task.command],
            stdin=subprocess.DEVNULL,
            stdout=self._logs[task.name],
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # its own data loaders are stopped with it, and Ctrl-C reaches it through us alone
            preexec_fn=_end_with_parent,
        )
        self._slots[task.name] = slot

    def ended(self) -> Dict[str, int]:
        statuses = {name: status for name, run in self._running.items() if (status := run.poll()) is not None}
        for name in statuses:
            del self._running[name], self._slots[name]
            self._logs.pop(name).close()
        return statuses

    def stop(self) -> None:
        """Tell all tasks to stop, and kill those that have not ended after `PATIENCE`, with all their processes."""
        for run in self._running.values():
            run.send_signal(signal.SIGTERM)  # SIGINT is ignored by what a script has started in the background
        until = time.monotonic() + PATIENCE
        for run in self._running.values():
            try:
                run.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                _signal_group(run, signal.SIGKILL)
                run.wait()
        self.ended()


def _signal_group(run: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, number)


class ClusterExecutor:
    """Jobs of a Slurm cluster, by submitit. The folder of the sweep has to be seen from all of its machines.

    Args:
        folder: where submitit keeps what it needs.
        parameters: of submitit's ``AutoExecutor.update_parameters``, such as slurm_partition, gpus_per_node,
            timeout_min.
        jobs: how many are submitted at a time; None is no limit.
        cluster: "slurm", or submitit's "local", which is for trying it out.

    Raises:
        ConfigError: submitit is not installed, there is no Slurm here, or it does not know a parameter.
    """

    def __init__(self, folder: str, parameters: Mapping[str, Any], jobs: Optional[int] = None, cluster: str = "slurm"):
        try:
            import submitit
        except ImportError as error:
            raise ConfigError("--slurm needs submitit: pip install submitit") from error
        self._command = submitit.helpers.CommandFunction
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
            self._executor.update_parameters(**parameters)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"--slurm: {error}") from error
        self.jobs = jobs
        self._running: Dict[str, Any] = {}
        self._logs: Dict[str, str] = {}

    def has_room(self) -> bool:
        return self.jobs is None or len(self._running) < self.jobs

    def start(self, task: Task, log: str) -> None:
        self._executor.update_parameters(name=task.name)
        function = self._command([sys.executable, *task.command], verbose=True, cwd=os.getcwd())
        try:
            self._running[task.name] = self._executor.submit(function)
        except Exception as error:  # whatever sbatch, or what submitit calls, objects to
            raise ConfigError(f"--slurm: {task.name} cannot be submitted: {error}") from error
        self._logs[task.name] = log

    def ended(self) -> Dict[str, int]:
        statuses: Dict[str, int] = {}
        for name, job in list(self._running.items()):
            if job.done():
                failure = job.exception()
                statuses[name] = 0 if failure is None else 1
                write_text(
                    self._logs.pop(name),
                    "\n".join(self._said(job) + ([str(failure)] if failure is not None else [])),
                )
                del self._running[name]
        return statuses

    @staticmethod
    def _said(job: Any) -> List[str]:
        return [text for text in (job.stdout(), job.stderr()) if text]

    def stop(self) -> None:
        """Cancel all jobs."""
        for job in self._running.values():
            job.cancel(check=False)
        self._running.clear()
