"""Measuring in turn: two programs, each in a process of its own, A B A B, so that a busy minute hits both."""
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


class Worker:
    """A contestant in a process of its own that makes one turn when it is asked to. Use it in a `with` statement."""

    def __init__(self, name, task, **options):
        self.name = name
        command = [sys.executable, str(HERE / "contestants.py"), name, task, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def report(self):
        """What the process says when it has finished a turn, or its start: {"seconds", "peak", "result"}."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self.process.wait()}; its own words stand above")
        return json.loads(line)

    def turn(self):
        """One turn, from asking for it to its report."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.report()

    def __enter__(self):
        self.report()      # all is set up
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def in_turn(worker, other, rounds, warm_up=1):
    """The reports of both, without the first turns, in which things are still set up: two lists."""
    reports = [(worker.turn(), other.turn()) for _ in range(warm_up + rounds)]
    return tuple(map(list, zip(*reports[warm_up:], strict=True)))


def seconds(reports):
    """The median of a list of reports."""
    return statistics.median(report["seconds"] for report in reports)


def ratios(reports, others):
    """How many times as long the others took, round by round."""
    return [other["seconds"] / report["seconds"] for report, other in zip(reports, others, strict=True)]


def spread(values, form="{:.2f}"):
    """Median, and from the least to the most."""
    return f"**{form.format(statistics.median(values))}** ({form.format(min(values))} to {form.format(max(values))})"


def machine():
    """This machine and what runs on it, in a line."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (f"{name}, {os.cpu_count()} processors, {torch.get_num_threads()} threads, {memory:.0f} GiB{gpu}; "
            f"{platform.system()}, Python {platform.python_version()}, PyTorch {torch.__version__}")
