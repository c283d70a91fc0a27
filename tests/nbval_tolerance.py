"""Stored notebook outputs against a fresh run: words and integers exactly, decimals within a tolerance.

nbval compares strings. Two processors agree on a loss to several digits, not to all of them, so decimals in text
outputs may differ by `nbval_rtol` / `nbval_atol` (pytest's ini) or by one in the last printed digit. Everything
else nbval decides as it always does. Live outputs (a progress line that rewrites itself) are compared as a
reader finds them at the end. Cell tags:

    nbval-rtol=0.05, nbval-atol=0.01   a wider tolerance for this one cell
    device-dependent                   the output follows from the device's own random numbers (dropout): compared
                                       only where this machine draws the numbers that the stored run drew
"""
import contextlib
import functools
import io
import math
import re
import sys
from collections import defaultdict, deque
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, coalesce_streams

sys.path.append(str(Path(__file__).resolve().parent.parent / "scripts"))
from writable_home import use_a_writable_home

DECIMAL = re.compile(r"(?<![\w.,])[-+]?\d+(?:,\d{3})*(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+)(?![\w]|[.,]\d)")
PADDING = re.compile(r" *\x00 *")          # spaces beside a number move when its sign or its width does
NOT_COMPARED = pytest.StashKey()
TEXT_TYPES = ("text/plain", "text/html", "text/markdown")
STORED_DROPOUT = [8, 26, 45, 48, 54, 58, 61]      # what `dropped()` gives where the outputs were stored


def pytest_addoption(parser):
    parser.addini("nbval_rtol", "relative tolerance for decimals in notebook outputs", default="1e-4")
    parser.addini("nbval_atol", "absolute tolerance for decimals in notebook outputs", default="1e-6")


@pytest.hookimpl
def pytest_itemcollected(item):
    if not isinstance(item, IPyNbCell):
        return
    item.add_marker("slow")
    tags = item.cell.metadata.get("tags", [])
    if "device-dependent" in tags and not draws_like_the_stored_run():
        item.options["check"] = False
        item.config.stash[NOT_COMPARED].append(item)
    rtol, atol = tolerance(tags, item.config)
    compare_exactly = item.compare_outputs

    def compare(test, ref, skip_compare=None):
        fresh = coalesce_streams(as_seen_at_the_end(item.parent.heard))
        test[:] = adopt_close_texts(fresh, ref, item.sanitize, rtol, atol)
        return compare_exactly(test, ref, skip_compare)

    item.compare_outputs = compare          # on this one cell: nbval itself stays as it is


def pytest_configure(config):
    """Warnings about a home folder that cannot be written would be outputs that no stored notebook has."""
    config.stash[NOT_COMPARED] = []
    use_a_writable_home()


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[NOT_COMPARED]:
        terminalreporter.write_line(f"{len(config.stash[NOT_COMPARED])} cell outputs were not compared: the device here draws "
                                    "other random numbers than the one that stored them")


def tolerance(tags, config):
    """(rtol, atol) of a cell: its own tags, else the ini values."""
    own = dict(tag.split("=", 1) for tag in tags if "=" in tag)
    return tuple(float(own.get(name.replace("_", "-"), config.getini(name))) for name in ("nbval_rtol", "nbval_atol"))


@functools.cache
def draws_like_the_stored_run():
    return dropped() == STORED_DROPOUT


def dropped():
    """Which of 64 places dropout zeroes after seed 123, on the device that the notebooks would pick here."""
    import torch

    from gpt_helpers.device import pick_device
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
        torch.manual_seed(123)
        kept = torch.nn.functional.dropout(torch.ones(64, device=pick_device()), 0.1)
    return (kept == 0).nonzero().flatten().tolist()


# Live outputs: nbval collects messages but forgets updates, so keep every message and apply them in order.

def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        collector.heard, read = [], collector.get_kernel_message

        def listen(timeout=None, stream="iopub"):
            collector.heard.append(read(timeout=timeout, stream=stream))
            return collector.heard[-1]

        collector.get_kernel_message = listen


def pytest_runtest_setup(item):
    if isinstance(item, IPyNbCell):
        item.parent.heard.clear()


def as_seen_at_the_end(messages):
    """The outputs that remain on the page after all updates and clearings."""
    ours = {m["parent_header"].get("msg_id") for m in messages if m["msg_type"] == "execute_input"}
    outputs, by_display_id, clear_next = [], defaultdict(list), False
    for message in messages:
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") not in ours:
            continue
        if kind == "update_display_data":
            for output in by_display_id[content["transient"]["display_id"]]:
                output.update(data=nbformat.from_dict(content["data"]), metadata=nbformat.from_dict(content["metadata"]))
        elif kind == "clear_output" and content["wait"]:
            clear_next = True
        elif kind == "clear_output":
            outputs.clear()
        elif kind in ("stream", "display_data", "execute_result", "error"):
            if clear_next:
                outputs.clear()
                clear_next = False
            outputs.append(nbformat.v4.output_from_msg(message))
            by_display_id[content.get("transient", {}).get("display_id")].append(outputs[-1])
    return outputs


# Decimals within a tolerance: a fresh text that agrees is replaced by the stored one, and nbval finds them equal.

def adopt_close_texts(fresh, stored, sanitize, rtol, atol):
    waiting = defaultdict(deque)
    for holder, key, kind in texts(stored):
        waiting[kind].append(holder[key])
    for holder, key, kind in texts(fresh):
        if waiting[kind]:
            wanted = waiting[kind].popleft()
            if agree(sanitize(wanted), sanitize(holder[key]), rtol, atol):
                holder[key] = wanted
    return fresh


def texts(outputs):
    for output in outputs:
        if output.output_type == "stream":
            yield output, "text", output.name
        for kind in TEXT_TYPES:
            if isinstance(output.get("data", {}).get(kind), str):
                yield output.data, kind, kind


def agree(stored, fresh, rtol, atol):
    """Same words, integers and layout, and every decimal close to its partner."""
    frames = [PADDING.sub("\x00", DECIMAL.sub("\x00", text)) for text in (stored, fresh)]
    return frames[0] == frames[1] and all(
        close(a, b, rtol, atol) for a, b in zip(DECIMAL.findall(stored), DECIMAL.findall(fresh), strict=True))


def close(a, b, rtol, atol):
    """Within rtol or atol, or one apart in the last printed digit, where rounding may have gone the other way."""
    x, y = (float(number.replace(",", "")) for number in (a, b))
    return math.isclose(x, y, rel_tol=rtol, abs_tol=max(atol, 1.001 * last_digit(a), 1.001 * last_digit(b)))


def last_digit(number):
    """What one in the last place is worth; 0 for fewer than three significant digits, where it would be a lot."""
    mantissa, _, exponent = number.lower().partition("e")
    if sum(c.isdigit() for c in mantissa.lstrip("+-0.,")) < 3:
        return 0.0
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
