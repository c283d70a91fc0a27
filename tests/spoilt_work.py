"""Work for scripts/apart.py that goes wrong in every way; a module of its own, so that each new process has little to import."""
import os
import subprocess
import sys
import time


def work(item):
    """Give the item back, or do what it says."""
    if item == "hang":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    if item == "die":
        os._exit(3)
    if item == "eat":
        return len([bytearray(10**8) for _ in range(500)])
    if item == "raise":
        raise ValueError("raised")
    return item
