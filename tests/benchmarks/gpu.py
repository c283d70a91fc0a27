"""Training speed on a GPU, beside nanoGPT's own loop: python tests/benchmarks/gpu.py --peak-tflops N [--nanogpt FOLDER]

GPT-2's smallest size, context 1,024, the largest batch that fits, no dropout, gradients clipped: tokens a second, and the share
of the chip's peak, in float32, TF32, bfloat16, and bfloat16 with torch.compile. Both programs take their turns in one process,
A B A B. --peak-tflops: of bfloat16 products without sparsity, as the maker says it (989 for an H100). --nanogpt: a clone of
github.com/karpathy/nanoGPT. --device cpu with a small --width shows that it runs, and no speed.
"""
import argparse
import contextlib
import importlib
import statistics
import sys
import time
from collections.abc import Callable

import torch
from limit import flops
from measure import machine

from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPT_CONFIG_124M, GPTModel

WAYS = {"float32": ("highest", False, False), "TF32": ("high", False, False), "bfloat16": ("high", True, False),
        "bfloat16, compiled": ("high", True, True)}      # precision of float32 products, autocast, torch.compile


def ours(cfg: dict, device: torch.device) -> tuple:
    """This project's model, its optimizer, and the loss of a batch."""
    model = GPTModel(cfg).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    return model, optimizer, lambda model, inputs, targets: calc_loss_batch(inputs, targets, model, device)


def nanogpt(cfg: dict, device: torch.device) -> tuple:
    """nanoGPT's model of the same size, its own optimizer, and the loss of a batch, as its train.py uses them."""
    source = importlib.import_module("model")                    # of the clone
    model = source.GPT(source.GPTConfig(block_size=cfg["context_length"], vocab_size=cfg["vocab_size"], n_layer=cfg["n_layers"],
                                        n_head=cfg["n_heads"], n_embd=cfg["emb_dim"], dropout=0.0, bias=False)).to(device)
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), device.type)
    return model, optimizer, lambda model, inputs, targets: model(inputs, targets)[1]


def stepper(make: Callable, cfg: dict, device: torch.device, autocast: bool, compiled: bool) -> Callable:
    """A function that makes one update with a batch, as nanoGPT's loop does: loss, backward, clip, step, zero_grad."""
    torch.manual_seed(123)
    with contextlib.redirect_stdout(sys.stderr):
        model, optimizer, loss_of = make(cfg, device)
    model = torch.compile(model) if compiled else model

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = loss_of(model, inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def draw(cfg: dict, batch_size: int, device: torch.device) -> tuple:
    """A batch of random ids, (B, T) twice."""
    return tuple(torch.randint(cfg["vocab_size"], (2, batch_size, cfg["context_length"]), device=device))


def seconds(step: Callable, batch: tuple, steps: int) -> float:
    """Seconds for one update, the mean of several in a row."""
    wait = torch.cuda.synchronize if batch[0].is_cuda else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(steps):
        step(*batch)
    wait()
    return (time.perf_counter() - started) / steps


def largest_batch(step: Callable, cfg: dict, device: torch.device, most: int) -> int:
    """The largest power of two, up to `most`, for which the memory lasts."""
    batch_size = most
    while batch_size > 1:
        with contextlib.suppress(torch.OutOfMemoryError):
            step(*draw(cfg, batch_size, device))
            return batch_size
        torch.cuda.empty_cache()
        batch_size //= 2
    return 1


def main(arguments: list[str]) -> None:
    """Measure all ways, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak-tflops", type=float, help="of bfloat16 products, to be told which share of it was used")
    parser.add_argument("--nanogpt", help="the folder of a clone, to be measured in turn")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--most", type=int, default=128, help="windows of a batch that are tried first")
    parser.add_argument("--steps", type=int, default=20, help="updates of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here: run this where there is one, or add --device cpu --width 64 to try it out")
    sys.path.insert(0, given.nanogpt or "")
    device, cfg = torch.device(given.device), GPT_CONFIG_124M | {
        "context_length": given.context, "emb_dim": given.width, "n_heads": given.width // 64, "drop_rate": 0.0}
    programs = {"ours": ours} | ({"nanoGPT": nanogpt} if given.nanogpt else {})
    where = torch.cuda.get_device_name() if device.type == "cuda" else machine()
    print(f"{where}, PyTorch {torch.__version__}; context {given.context:,}, width {given.width}; {given.rounds} rounds of "
          f"{given.steps} updates, in turn\n\n| | | batch | tokens a second | share of peak | time, times ours |\n|{'---|' * 6}")
    for way, (precision, autocast, compiled) in WAYS.items():
        torch.set_float32_matmul_precision(precision)
        steps = {name: stepper(make, cfg, device, autocast, compiled) for name, make in programs.items()}
        batch_size = min(largest_batch(step, cfg, device, given.most) for step in steps.values())
        batch = draw(cfg, batch_size, device)
        for step in steps.values():
            seconds(step, batch, 3)                              # compiled, warmed up
        times = {name: [] for name in programs}
        for _ in range(given.rounds):
            for name, step in steps.items():
                times[name].append(seconds(step, batch, given.steps))
        for name, taken in times.items():
            median = statistics.median(taken)
            ratios = sorted(mine / own for own, mine in zip(times["ours"], taken, strict=True))
            share = f"{flops(cfg, batch_size) / median / 1e12 / given.peak_tflops:.0%}" if given.peak_tflops else ""
            times_ours = "1" if name == "ours" else f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            rate = f"{batch_size * given.context / median:,.0f}"
            print(f"| {way} | {name} | {batch_size} | {rate} | {share} | {times_ours} |", flush=True)
        del steps, step
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1:])
