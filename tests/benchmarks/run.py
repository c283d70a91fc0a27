"""All benchmarks, written to RESULTS.md beside this file: python tests/benchmarks/run.py [--quick] [--peak-tflops N]

About half an hour on two cores, alone on the machine, with 16 GB of memory; --quick takes less than two and only prints.
First: pip install -r tests/benchmarks/requirements.txt && pip install --no-deps llms-from-scratch==1.0.19
--peak-tflops: what the chip can do at best in the arithmetic it is used with, to be told which share of it was used.
"""
import argparse
import math
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from large_text import rows as large_text_rows
from limit import bytes_read, flops
from loading import compare_loading
from matplotlib.figure import Figure
from measure import Worker, in_turn, machine, ratios, seconds, spread

from gpt_helpers.device import training_memory
from gpt_helpers.model import GPT_CONFIG_124M

HERE = Path(__file__).resolve().parent
CFG = GPT_CONFIG_124M | {"context_length": 256}
PEERS = ("GPTModel", "GPTModel, fused", "GPTModelFast", "GPTModelFast, fused", "transformers")


def table(*rows):
    """Rows of cells as a Markdown table; the first is the head."""
    head, *body = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def section(title, *parts):
    """Parts of a page under a heading."""
    return "\n\n".join([f"## {title}", *parts])


def peak_memory(reports):
    """The peak memory that the last of these reports tells."""
    return f"{reports[-1]['peak']:,.0f} MB"


def against(task, peers, rounds, **options):
    """Ours and each peer at a task, in turn: yields (peer, our reports, theirs)."""
    for peer in peers:
        with Worker("ours", task, **options) as worker, Worker(peer, task, **options) as other:
            yield peer, *in_turn(worker, other, rounds)


def steps(peers, rounds, peak_tflops):
    """One training step: time, memory and the first losses of each, and the limit."""
    rows, own = [("", "seconds a step", "times ours", "its peak memory", "ours has")], []
    for peer, reports, others in against("step", (*peers, "the limit"), rounds, cfg=CFG, batch_size=2):
        own += reports
        share = "" if peer == "the limit" else f"{reports[-1]['peak'] / others[-1]['peak']:.2f} of it"
        rows.append((peer, f"{seconds(others):.2f}", spread(ratios(reports, others)), peak_memory(others), share))
    rows.insert(1, ("ours", f"{seconds(own):.2f}", "1", peak_memory(own), ""))
    rate = flops(CFG, 2) / seconds(own) / 1e9
    speed = f"Ours: {2 * CFG['context_length'] / seconds(own):,.0f} tokens a second, {rate:,.0f} GFLOP/s of matrix products."
    if peak_tflops:
        speed += f" That is {rate / 1e3 / peak_tflops:.0%} of the {peak_tflops:g} TFLOP/s that the chip was said to reach."
    return section("One training step", "GPT-2's smallest size, context 256, batch 2, dropout 0.1, float32. *The limit*: the "
                   "matrix multiplication of the same step alone, each into memory that is there.", table(*rows), speed)


def other_ways(rounds):
    """The same step in bfloat16 and compiled, a batch in parts, and an update on two processes."""
    rows = [("", "seconds a step", "times plain", "peak memory")]
    for way in ("ours, bfloat16", "ours, compiled"):
        with Worker("ours", "step", cfg=CFG, batch_size=2) as plain, Worker(way, "step", cfg=CFG, batch_size=2) as other:
            reports, others = in_turn(plain, other, rounds)
        rows.append((way, f"{seconds(others):.2f}", spread(ratios(reports, others)), peak_memory(others)))
    with (Worker("ours", "step", cfg=CFG, batch_size=8) as whole,
          Worker("ours", "step", cfg=CFG, batch_size=2, accumulate=4) as parts):
        reports, others = in_turn(whole, parts, rounds)
    rows += [("batch of 8", f"{seconds(reports):.2f}", "1", peak_memory(reports)),
             ("four of 2, accumulated", f"{seconds(others):.2f}", spread(ratios(reports, others)), peak_memory(others))]
    times = {(1, 1): [], (1, 2): [], (2, 1): []}                  # processes, and threads of each
    for _ in range(rounds):
        for number, threads in times:
            times[number, threads].append({"seconds": update_on(number, threads)})
    updates = [(number, threads, f"{seconds(taken):.3f}", spread(ratios(times[1, 1], taken)))
               for (number, threads), taken in times.items()]
    return section("In other ways", "The step of the first table. *Plain* is ours in float32, or the batch at once.",
                   table(*rows), "An update of four micro-batches of a small model (256 wide, context 128) by `train_model`, "
                   "alone and under DistributedDataParallel:",
                   table(("processes", "threads of each", "seconds an update", "times the first"), *updates))


def update_on(number, threads):
    """Seconds of an update on so many processes with so many threads each."""
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}",
                           str(HERE / "together.py")], env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True,
                          capture_output=True, text=True)
    return float(done.stdout.split("seconds ")[1].split()[0])


def evaluating(rounds):
    """One evaluation of lesson 07."""
    rows = [("", "seconds", "times ours", "peak memory", "same losses, to the third decimal")]
    for peer, reports, others in against("evaluate", ["GPTModel"], rounds):
        same = all(math.isclose(a, b, abs_tol=5e-4) for a, b in zip(reports[0]["result"], others[0]["result"], strict=True))
        rows += [("ours", f"{seconds(reports):.2f}", "1", peak_memory(reports), ""),
                 (peer, f"{seconds(others):.2f}", spread(ratios(reports, others)), peak_memory(others), "yes" if same else "NO")]
    return section("Evaluating", "Five batches of each loader, as in lesson 07.", table(*rows))


def sampling(peers, rounds, lengths):
    """Greedy sampling, and the limit: each token has to read every weight once."""
    rows, near = [("", "new tokens", "seconds", "times ours", "peak memory", "same ids as ours")], []
    for tokens in lengths:
        own = []
        for peer, reports, others in against("sample", (*peers, "the limit"), rounds, cfg=CFG, tokens=tokens):
            own += reports
            theirs = others[0]["result"]
            same = "" if peer in ("transformers", "the limit") else "yes" if theirs == reports[0]["result"] else "NO"
            rows.append((peer, tokens, f"{seconds(others):.2f}", spread(ratios(reports, others)), peak_memory(others), same))
        rows.insert(len(rows) - len(peers) - 1, ("ours", tokens, f"{seconds(own):.2f}", "1", peak_memory(own), ""))
        rates = [f"{bytes_read(CFG, tokens) / seconds(of) / 1e9:.1f}" for of in (own, others)]
        near.append(f"{tokens} tokens: ours reads weights at {rates[0]} GB/s, the limit at {rates[1]}.")
    return section("Greedy sampling", "After four tokens, with 124M weights. *The limit*: one vector times every weight, for "
                   "each new token. (transformers starts from weights of its own, and so has other ids.)", table(*rows),
                   " ".join(near))


def training(epochs):
    """The whole of lesson 07, an epoch in turn."""
    with (Worker("ours", "whole", epochs=epochs) as worker,
          Worker("GPTModel", "whole", epochs=epochs) as other):
        reports, others = in_turn(worker, other, epochs, warm_up=0)
    rows = list(zip(reports[-1]["result"], others[-1]["result"], strict=True))
    differ = [ours for ours, theirs in rows if ours != theirs]
    first = next((line.split(":")[0] for line in differ), "none")
    times = [sum(report["seconds"] for report in of) for of in (reports, others)]
    return section(
        "The whole of lesson 07", f"{epochs} epochs with evaluations and samples, each epoch in turn, ours against the "
        "chapter's own `train_model_simple`, model and optimizer, on the same batches from the same seeds.",
        table(("", "seconds in all", "times ours, epoch by epoch", "peak memory"),
              ("ours", f"{times[0]:.0f}", "1", peak_memory(reports)),
              ("GPTModel", f"{times[1]:.0f}", spread(ratios(reports, others)), peak_memory(others))),
        f"Altogether {times[1] / times[0]:.2f} times ours. Of {len(rows)} printed rows {len(rows) - len(differ)} are the same to "
        f"the last printed digit; the first that differs: {first}.")


def growth(rounds):
    """Time and memory against context, batch and width, beside what counting the products' operations lets expect."""
    def sized(width=768, **options):
        return CFG | {"emb_dim": width, "n_heads": width // 64} | options

    series = {"context": {t: (sized(context_length=t), 2) for t in (64, 128, 256, 512, 1024)},
              "batch": {b: (sized(), b) for b in (1, 2, 4, 8)},
              "width": {c: (sized(width=c), 2) for c in (128, 256, 384, 512, 768)}}
    rows = [("", "", "tokens a second", "seconds a step", "peak memory")]
    slopes = [("", "time grows with its power", "expected", "memory grows with its power", "expected")]
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    for column, (name, settings) in enumerate(series.items()):
        times, peaks = [], []
        for value, (cfg, batch_size) in settings.items():
            with Worker("ours", "step", cfg=cfg, batch_size=batch_size) as worker:
                worker.turn()
                reports = [worker.turn() for _ in range(rounds)]
            times.append(seconds(reports))
            peaks.append(reports[-1]["peak"])
            rows.append((name, f"{value:,}", f"{batch_size * cfg['context_length'] / times[-1]:,.0f}", f"{times[-1]:.2f}",
                         f"{peaks[-1]:,.0f} MB"))
        values, work = list(settings), [flops(*setting) for setting in settings.values()]
        parts = [sum(training_memory(*setting).values()) / 2**20 for setting in settings.values()]
        slopes.append((name, *(f"{slope(values, ys):.2f}" for ys in (times, work, peaks, parts))))
        scale = times[-1] / work[-1]
        axes[0, column].loglog(values, times, "o-", color="#0060a0", label="measured")
        axes[0, column].loglog(values, [scale * w for w in work], ":", color="#595959", label="by counting products")
        axes[1, column].loglog(values, peaks, "s-", color="#b34000", label="measured")
        axes[1, column].loglog(values, parts, ":", color="#595959", label="by counting what training keeps")
        for axis in axes[:, column]:
            axis.set_xticks(values, [f"{value:,}" for value in values])
            axis.minorticks_off()
            axis.set_xlabel(name)
    axes[0, 0].set_ylabel("seconds a step")
    axes[1, 0].set_ylabel("peak memory (MB)")
    for axis in axes[:, 0]:
        axis.legend(frameon=False)
    figure.savefig(HERE / "growth.png", dpi=100, metadata={"Software": None})
    return section(
        "Growth", "From context 256, batch 2, width 768 one size is changed at a time (heads of 64).",
        "![Time of a step and peak memory against context, batch and width, each with what counting lets expect](growth.png)",
        table(*slopes), "Powers between the first and the last row of each, expected from the operations of the matrix products "
        "and from `training_memory`. What was measured has a part more that does not grow: the optimizer passes over all "
        "weights at every step, and PyTorch itself needs memory.", table(*rows))


def slope(xs, ys):
    """The power with which y grows with x, from the first to the last."""
    return math.log(ys[-1] / ys[0]) / math.log(xs[-1] / xs[0])


def loading(megabytes):
    """A large text to batches, against tiktoken alone."""
    return section("Loading", f"{megabytes} MB of text: ours to ids, parts and windows, tiktoken to a list.",
                   table(("", "MB a second", "MB more at the peak", "bytes a token"), *compare_loading(megabytes)))


def large_text(megabytes):
    """A large text to shards on disk, and a training on them."""
    return section("A large text", f"{megabytes:,} MB of text to token shards, then 100 updates of a tiny model on windows of "
                   "256 from all over it. Memory before is that of the imports. Pages of the token file count at the peak, and "
                   "the system takes them back when it needs them.",
                   table(("", "seconds", "MB a second", "MB before", "MB at the peak", "of which token file"),
                         *large_text_rows(megabytes)))


def importing(rounds):
    """`import gpt_helpers.train` in fresh processes, against torch and tiktoken alone, in turn."""
    times = {"torch, tiktoken": [], "gpt_helpers.train": []}
    for _ in range(1 + rounds):
        for modules, of in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
            of.append(time.perf_counter() - start)
    more = [b - a for a, b in list(zip(*times.values(), strict=True))[1:]]
    return section("Importing", f"`import gpt_helpers.train` takes {spread(more)} seconds more than `import torch, tiktoken`, "
                   "each in a process of its own.")


def main():
    """Run, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a look in under two minutes; writes no file")
    parser.add_argument("--peak-tflops", type=float, help="the chip's peak, to be told which share of it was used")
    options = parser.parse_args()
    if options.quick:
        print(machine())
        sections = [lambda: steps(["GPTModel"], 2, options.peak_tflops), lambda: sampling(["GPTModel"], 1, [50])]
    else:
        sections = [lambda: steps(PEERS, 7, options.peak_tflops), lambda: other_ways(5), lambda: evaluating(5),
                    lambda: sampling(("GPTModel", "GPTModelFast", "transformers"), 3, [50, 200]), lambda: training(10),
                    lambda: growth(3), lambda: loading(100), lambda: large_text(1000),
                    lambda: importing(7)]
    texts = [f"# Results\n\n{date.today()}, {machine()}.\n\n"
             "Made by `run.py`. Everything is measured in turn, A B A B, each in a process of its own; numbers in bold are "
             "medians of the rounds' ratios, those behind them the least and the most."]
    for section in sections:
        texts.append(section())
        print(texts[-1], "\n", flush=True)
    if not options.quick:
        (HERE / "RESULTS.md").write_text("\n\n".join(texts) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
