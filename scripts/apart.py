"""Work in processes of its own: what one of them does, however it ends, touches no other."""
import contextlib
import multiprocessing
import os
import time
from collections import deque
from multiprocessing.connection import wait
from pathlib import Path

import psutil
from sandbox import family

MEMORY = 4 * 2**30      # bytes for a process and for each that it starts; a notebook needs a twentieth of that


class Ended(Exception):
    """A process ended, or was ended, before it gave a result."""


def each_apart(work, items, jobs, seconds, tell=lambda done: None):
    """Yield what work(item) returns for each item, in order, `jobs` at a time; an exception in place of what one could not give.

    seconds: by the clock, after which a process is ended with all that it has started. tell: called with the number of
    items that are done, whenever it grows. work and the items must be picklable.
    """
    context, todo, running, results, given = multiprocessing.get_context("spawn"), deque(enumerate(items)), {}, {}, 0
    try:
        while todo or running:
            while todo and len(running) < jobs:
                i, item = todo.popleft()
                answer, send = context.Pipe(duplex=False)
                process = context.Process(target=answer_with, args=(send, work, item))
                process.start()
                send.close()
                running[answer] = i, process, time.monotonic() + seconds
            first = min(end for _, _, end in running.values())
            ready = wait(list(running), max(0, first - time.monotonic()))
            for answer in [answer for answer, (_, _, end) in running.items() if answer in ready or end <= time.monotonic()]:
                i, process, _ = running.pop(answer)
                if answer in ready:
                    results[i] = received(answer)
                    process.join(10)      # whatever it still has to tidy up
                else:
                    results[i] = Ended(f"still running after {seconds:g} seconds")
                end(process)
                tell(given + len(results))
            while given in results:
                yield results.pop(given)
                given += 1
    finally:
        for _, process, _ in running.values():
            end(process)


def answer_with(send, work, item):
    """What the process does: work, within its memory, and send back what came of it."""
    with contextlib.suppress(ImportError, OSError, ValueError):      # Windows has no such limit, macOS does not keep it
        import resource
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with contextlib.suppress(OSError):      # Linux: where memory runs out all the same, this ends before the teacher's own
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)      # what it has to say, it sends back; stderr is for the teacher
    try:
        result = work(item)
    except Exception as error:
        result = error
    try:
        send.send(result)
    except Exception as error:      # an exception that cannot be pickled
        send.send(Ended(f"{type(result).__name__}: {error}"))


def received(answer):
    """What a process sent, or that it ended without."""
    try:
        return answer.recv()
    except Exception:      # nothing, or half of it
        return Ended("its process ended before it was graded")
    finally:
        answer.close()


def end(process):
    """End a process with all that it has started."""
    for one in family(process.pid)[1:]:
        with contextlib.suppress(psutil.Error):
            one.kill()
    process.kill()
    process.join()
    process.close()


def processors():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
