"""Train a GPT on a text of your own: python scripts/train.py --text my.txt

The text, a file or a folder of .txt and .md files, is encoded to disk; then a model is trained on it, with checkpoints, a curve
and the weights that validated best. Stopped in any way, the same command goes on where it was. On several processes:
torchrun --nproc-per-node 2 scripts/train.py --text my.txt
"""
import argparse
import contextlib
import io
import json
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR
from torch.utils.data import DataLoader

from gpt_helpers.corpus import find_texts
from gpt_helpers.data import Split, create_dataloader, split_tokens
from gpt_helpers.device import pick_device, prepare_device
from gpt_helpers.diagnose import require_sound
from gpt_helpers.evaluate import History, generate_and_print_sample
from gpt_helpers.exchange import from_first
from gpt_helpers.files import locked, save_or_say, write_atomically, write_table, write_text
from gpt_helpers.lessons.bigger import decay_groups
from gpt_helpers.loss import calc_token_losses
from gpt_helpers.model import GPT_CONFIG_124M, GPT_CONFIG_TINY, GPTModel
from gpt_helpers.parallel import launched, processes, require_shares, size, wrap
from gpt_helpers.plot import plot_losses
from gpt_helpers.progress import Callback, Progress
from gpt_helpers.shards import ABOUT, TOKENS, encode_texts, open_tokens
from gpt_helpers.state import deferred_interrupts
from gpt_helpers.text import get_tokenizer
from gpt_helpers.train import train_model
from gpt_helpers.validate import require_known
from gpt_helpers.weights import load_weights

# Each configuration with its learning rate. Source of the sizes: Radford et al., "Language Models are Unsupervised Multitask
# Learners", 2019; of the rates: Brown et al., "Language Models are Few-Shot Learners", 2020, table 2.1, for models of about
# that size; those of tiny and small are ours.
CONFIGS = {
    "tiny": (GPT_CONFIG_TINY, 2e-3),
    "small": (GPT_CONFIG_124M | {"context_length": 256, "emb_dim": 256, "n_heads": 4, "n_layers": 6}, 1e-3),
    "124M": (GPT_CONFIG_124M, 6e-4),
    "355M": (GPT_CONFIG_124M | {"emb_dim": 1024, "n_heads": 16, "n_layers": 24}, 3e-4),
    "774M": (GPT_CONFIG_124M | {"emb_dim": 1280, "n_heads": 20, "n_layers": 36}, 2.5e-4),
    "1558M": (GPT_CONFIG_124M | {"emb_dim": 1600, "n_heads": 25, "n_layers": 48}, 2e-4),
}
TOGETHER = launched()
FIRST = not TOGETHER or os.environ["RANK"] == "0"
RUN = ("settings.json", "curve.png", "curve.csv", "best.safetensors", "checkpoint.pt")      # a run's files, beside its tokens


# Options and settings.

def kind(need: str, convert: Callable, accept: Callable = lambda value: True) -> Callable[[str], Any]:
    """A type for argparse: what `convert` makes of the words, if `accept` takes it, else an error that says what is needed."""
    def read(words: str) -> Any:
        try:
            value = convert(words)
            if accept(value):
                return value
        except (ValueError, KeyError, OverflowError):
            pass
        raise argparse.ArgumentTypeError(f"got {words!r:.60}, need {need}")
    return read


def integer(words: str) -> int:
    """An integer, also written like 1e6 or 1_000_000. ValueError or OverflowError when it is not one."""
    with contextlib.suppress(ValueError):
        return int(words)                             # every digit counts
    if (number := int(float(words))) != float(words):
        raise ValueError(words)
    return number


COUNT = kind("an integer of at least 1, at most 1e15", integer, lambda n: 1 <= n <= 10**15)
NATURAL = kind("an integer of at least 0, at most 1e15", integer, lambda n: 0 <= n <= 10**15)
LAYERS = kind("an integer from 1 to 10,000", integer, lambda n: 1 <= n <= 10_000)
POSITIVE = kind("a number above 0", float, lambda x: 0 < x < math.inf)
AT_LEAST_0 = kind("a number of at least 0", float, lambda x: 0 <= x < math.inf)
FRACTION = kind("a fraction, from 0 to below 1", float, lambda x: 0 <= x < 1)
DECAY = kind("a number above 0 and below 1", float, lambda x: 0 < x < 1)
SEED = kind("an integer from 0 to 2**63 - 1", integer, lambda n: 0 <= n < 2**63)
YES_NO = kind("true or false", lambda words: {"true": True, "false": False}[words.lower()])


def one_of(*names: str) -> Callable[[str], str]:
    """A type for argparse: one of these names."""
    return kind(f"one of: {', '.join(names)}", str, names.__contains__)


# {group: {setting: (type, default, what it is)}}; a default of None is explained in its words.
SETTINGS = {
    "the model (where left out, as in its configuration)": {
        "config": (one_of(*CONFIGS), None, f"{', '.join(CONFIGS)}; left out: 124M on a GPU, else tiny"),
        "context_length": (COUNT, None, "the most tokens that the model sees at once"),
        "emb_dim": (COUNT, None, "numbers per token inside the model"),
        "n_heads": (COUNT, None, "attention heads"),
        "n_layers": (LAYERS, None, "blocks"),
        "drop_rate": (FRACTION, None, "dropout"),
        "qkv_bias": (YES_NO, None, "whether queries, keys and values have a bias"),
    },
    "how long": {
        "epochs": (COUNT, 10, "passes over the training part, at most"),
        "max_steps": (COUNT, 2000, "updates, at most"),
        "max_tokens": (COUNT, None, "training tokens, at most"),
    },
    "each update": {
        "batch_size": (COUNT, 16, "windows in a batch"),
        "accumulate": (COUNT, None, "batches in an update, of all processes together; left out when a run begins: one for each"),
        "lr": (POSITIVE, None, "highest learning rate; left out: that of the configuration"),
        "schedule": (one_of("cosine", "constant"), "cosine", "cosine or constant, after the warm-up"),
        "warmup": (NATURAL, None, "updates in which the learning rate rises; left out: a twentieth of all"),
        "min_lr": (AT_LEAST_0, None, "where the cosine ends; left out: a tenth of lr"),
        "weight_decay": (AT_LEAST_0, 0.1, "of matrices; biases and norms have none"),
        "beta2": (DECAY, 0.95, "how long AdamW remembers squared gradients"),
        "max_grad_norm": (POSITIVE, 1.0, "gradients are scaled down to this norm"),
        "precision": (one_of("float32", "bfloat16"), "float32", "float32 or bfloat16, of the matrix products"),
        "compile": (YES_NO, False, "true: torch.compile"),
        "engine": (one_of("ddp", "fsdp"), "ddp", "on several processes: ddp, or fsdp for a model too large for one"),
        "timeout": (COUNT, 60, "seconds that processes wait for each other; more if saving takes longer"),
        "seed": (SEED, 123, "of weights, order and dropout"),
    },
    "what is measured and saved": {
        "train": (FRACTION, 0.8, "fraction of the text to train on"),
        "val": (FRACTION, 0.1, "fraction to validate on; the rest is for the test"),
        "eval_freq": (COUNT, None, "updates between evaluations; left out: a fortieth of all"),
        "eval_iter": (COUNT, 10, "batches in an evaluation, from all over the part"),
        "test_iter": (COUNT, 100, "batches in the test"),
        "checkpoint_freq": (COUNT, None, "updates between checkpoints; left out: eval_freq"),
    },
}
DEFAULTS = {name: default for group in SETTINGS.values() for name, (_, default, _) in group.items()}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> None:
        raise ValueError(message.removeprefix("argument "))


def new_parser() -> Parser:
    """All options; one that is not given is not in what it parses."""
    parser = Parser(usage="train.py --text FILE|FOLDER [--out FOLDER] [--config NAME] [option ...] [setting=value ...]",
                    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
                    argument_default=argparse.SUPPRESS,
                    epilog="A setting is written lr=1e-3 or --lr 1e-3. A run that goes on keeps its settings, but for those that "
                           "you give.")
    parser.add_argument("--text", metavar="FILE|FOLDER", help="what to train on: UTF-8 text, or a folder of .txt and .md files")
    parser.add_argument("--out", metavar="FOLDER", help="where everything is saved; left out: runs/ and the text's name")
    parser.add_argument("--prompt", metavar="WORDS", help="what samples begin with; left out: the text's first words")
    parser.add_argument("--device", help="cpu, cuda, mps …; left out: the best there is")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--resume", action="store_true", help="go on with a run that must be there; left out: if one is there")
    which.add_argument("--restart", action="store_true", help="begin anew; the run that is there moves to a folder in --out")
    parser.add_argument("--no-preflight", action="store_true", help="do not test data, model and optimizer before training")
    for title, settings in SETTINGS.items():
        group = parser.add_argument_group(title)
        for name, (convert, default, words) in settings.items():
            shown = words if default is None else f"{words} ({str(default).lower()})"
            group.add_argument(f"--{name}", type=convert, metavar="…", help=shown.replace("%", "%%"))
    return parser


def parse(arguments: list[str]) -> dict:
    """What is given on the command line. ValueError, in one line, for what is wrong, with the nearest names."""
    parser, given = new_parser(), []
    flags = {"--help", "-h", "--resume", "--restart", "--no-preflight"}
    options = [name for name in parser._option_string_actions if name.startswith("--")]
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        value_of_last = given and given[-1].startswith("--") and "=" not in given[-1] and given[-1] not in flags
        if not value_of_last and name.startswith("--"):
            require_known("option", name, options)
        elif not value_of_last and equals and f"--{name}" in options and name not in DEFAULTS:
            raise ValueError(f"got {argument!r:.60}, need it as an option: --{argument.replace('=', ' ', 1):.60}")
        elif not value_of_last and equals:
            require_known("setting", name, DEFAULTS)
            argument = f"--{argument}"
        given.append(argument)
    namespace, others = parser.parse_known_args(given)
    if others:
        raise ValueError(f"got {others[0]!r:.60}, need --text FILE, another option, or setting=value")
    return vars(namespace)


def all_settings(given: dict) -> dict:
    """Those given, else those of the run that is there, else the defaults; "text" and "out" as paths. Raises ValueError."""
    if "out" not in given and "text" not in given:
        raise ValueError("name a text to train on, --text my.txt, or the folder of a run, --out runs/my")
    for name in ("text", "out", "prompt"):
        if not readable(given.get(name, "in UTF-8")):
            raise ValueError(f"got --{name} {given[name]!a:.60}, need something to read in UTF-8")
    out = Path(given.get("out") or Path("runs", Path(os.path.realpath(given["text"])).stem))
    if out.exists() and not out.is_dir():
        raise ValueError(f"got --out {out}, which is a file: name a folder")
    for file in (out / name for name in RUN):
        if file.is_symlink() and not file.exists():
            raise ValueError(f"{file} is a link to what is not there: bring back its disk or its file, or remove the link")
    stored, there = {}, (out / "checkpoint.pt").exists()
    if there and not given.get("restart"):
        try:
            stored = read_settings(out / "settings.json")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, argparse.ArgumentTypeError):
            raise ValueError(f"{out / 'settings.json'} is missing or damaged: begin anew with --restart") from None
    if given.get("resume") and not there:
        raise ValueError(f"there is no run to resume in {out}: leave --resume out to begin one")
    began, batches, processes = stored.get("seed"), stored.get("accumulate") or 0, process_count()
    if stored and given.get("seed", began) != began:
        raise ValueError(f"got seed={given['seed']} for a run that began with seed={began}: leave it out, or begin anew with "
                         "--restart")
    if "accumulate" not in given and batches % processes:
        stored["accumulate"] = None
        if FIRST:
            print(f"An update was {batches} batches, and is now {processes}: one for each process")
    settings = DEFAULTS | {"prompt": None} | stored | given | {"out": out}
    if "text" not in settings:
        raise ValueError("name a text to train on: --text my.txt")
    return settings | {"text": Path(os.path.realpath(settings["text"]))}


def process_count() -> int:
    """How many processes torchrun has started, or will have; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if TOGETHER else 1


def readable(words: str) -> bool:
    """Whether words are some, and can be written in UTF-8."""
    return bool(words) and "\0" not in words and words.encode(errors="ignore").decode() == words


def resolved(settings: dict, device: torch.device) -> dict:
    """The settings, with what the device decides. Raises ValueError where they contradict each other, before a text is read."""
    config = settings["config"] or ("124M" if device.type == "cuda" else "tiny")
    lr = settings["lr"] or CONFIGS[config][1]
    if device.type == "meta":
        raise ValueError("got --device meta, which holds no numbers: use cpu, or leave --device out")
    if not (settings["train"] and settings["val"] and settings["train"] + settings["val"] < 1 - 1e-9):
        raise ValueError(f"got train={settings['train']:g} and val={settings['val']:g}, need something left for each part")
    if (warmup := settings["warmup"] or 0) and warmup >= settings["max_steps"]:
        raise ValueError(f"got warmup={warmup}, need fewer updates than the {settings['max_steps']:,} of the training")
    if settings["accumulate"]:
        require_shares(settings["accumulate"], process_count())
    if (settings["min_lr"] or 0) > lr:
        raise ValueError(f"got min_lr={settings['min_lr']:g} above lr={lr:g}: the cosine goes down")
    cfg = configuration(settings | {"config": config}, get_tokenizer().n_vocab)
    with deferred_interrupts(), torch.device("meta"):      # half left, this device confuses PyTorch
        GPTModel(cfg)      # which refuses what no model can have
    return settings | {"config": config, "lr": lr, "context_length": cfg["context_length"]}


def read_settings(path: Path) -> dict:
    """The settings of a run. Raises what a damaged file makes of them."""
    kinds = {name: convert for group in SETTINGS.values() for name, (convert, _, _) in group.items()}
    kinds |= {"text": Path, "prompt": str}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not all(isinstance(stored[name], str) and readable(stored[name]) for name in ("text", "prompt")):
        raise ValueError("text and prompt")
    return {name: None if value is None is DEFAULTS.get(name, "") else kinds[name](str(value)) for name, value in stored.items()}


def write_settings(out: Path, settings: dict) -> None:
    """Save the settings of a run."""
    write_text(out / "settings.json", json.dumps(settings, indent=1, ensure_ascii=False))


# The parts of a training run.

@contextlib.contextmanager
def folder_of(settings: dict) -> Iterator[None]:
    """Make the folder of the run, if there is a text for it; no other run may use it while the body runs."""
    if not FIRST:
        yield
        return
    find_texts(settings["text"])
    settings["out"].mkdir(parents=True, exist_ok=True)
    with locked(settings["out"]):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                settings["out"].rmdir()               # if nothing is in it


def tokens_of(settings: dict) -> torch.Tensor:
    """The text's token ids, memory-mapped; the first process encodes the text, if that is not done yet, and the others wait."""
    text, out = settings["text"], settings["out"]
    while not FIRST:
        try:
            return open_tokens(out, text)
        except (ValueError, OSError):
            time.sleep(1)
    encode = partial(encode_texts, text, out, get_tokenizer(),
                     progress=lambda done, total: print(f"Encoded {done:,} of {total:,} bytes", flush=True))
    try:
        return encode()
    except ValueError:
        if not (out / ABOUT).exists() or ((out / "checkpoint.pt").exists() and not settings.get("restart")):
            raise
        for name in (ABOUT, TOKENS):                  # of another text, and no run needs them
            (out / name).unlink(missing_ok=True)
        return encode()


def split_of(settings: dict, ids: torch.Tensor) -> Split:
    """The three parts of the text. Raises ValueError where one is too short for a window."""
    return split_tokens(ids, settings["train"], settings["val"], context_length=settings["context_length"])


def configuration(settings: dict, vocab_size: int) -> dict:
    """The model's configuration: the named one, with the settings that change it."""
    cfg, _ = CONFIGS[settings["config"]]
    return cfg | {"vocab_size": vocab_size} | {key: settings[key] for key in cfg if settings.get(key) is not None}


def part_loader(ids: torch.Tensor, batches: int, settings: dict) -> DataLoader:
    """About so many batches of a part, in order, from all over it; all of it, if it has no more."""
    context = settings["context_length"]
    stride = max(context, len(ids) // (batches * settings["batch_size"]))
    return create_dataloader(ids, settings["batch_size"], context, stride)


def new_optimizer(model: nn.Module, settings: dict) -> tuple[Optimizer, LRScheduler]:
    """AdamW, which decays matrices only, and its schedule: a linear warm-up, then half a cosine, or constant."""
    optimizer = AdamW(decay_groups(model), lr=settings["lr"], betas=(0.9, settings["beta2"]),
                      weight_decay=settings["weight_decay"], fused=next(model.parameters()).device.type in ("cpu", "cuda"))
    steps, warmup = settings["steps"], settings["warmup"]
    if warmup and warmup >= steps:
        raise ValueError(f"got warmup={warmup}, need fewer updates than the {steps:,} of the training")
    after = (CosineAnnealingLR(optimizer, steps - warmup, eta_min=settings["min_lr"]) if settings["schedule"] == "cosine"
             else ConstantLR(optimizer, factor=1.0))
    if not warmup:
        return optimizer, after
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return optimizer, SequentialLR(optimizer, [rise, after], milestones=[warmup])


def compute_in(precision: str, model: nn.Module, device: torch.device) -> nn.Module:
    """The model, which from now on computes in this precision; its weights, and the logits that it returns, stay float32."""
    if precision == "bfloat16":
        forward = torch.autocast(device.type, torch.bfloat16)(model.forward)
        model.forward = lambda *args, **kwargs: forward(*args, **kwargs).float()
    return model


def file_at(path: Path) -> tuple[int, int] | None:
    """Which file is there, and since when; None where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_ino, path.stat().st_mtime_ns


class Curve(Callback):
    """Saves the losses as a table and a picture at each evaluation; and new settings, once a step with them was possible.

    It also knows which checkpoint was there when the last step was taken.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings, self.checkpoint = folder, settings, file_at(folder / "checkpoint.pt")

    def on_step(self, step: int, loss: float) -> None:
        self.checkpoint = file_at(self.folder / "checkpoint.pt")
        if self.settings:
            write_settings(self.folder, self.settings)
            self.settings = None

    def on_eval(self, history: History) -> None:
        if sys.stderr.isatty():
            print(f"\r{'':78}", end="\r", file=sys.stderr, flush=True)      # the progress line makes room for this row
        rows = [{"tokens_seen": tokens, "train_loss": train, "val_loss": val}
                for train, val, tokens in zip(*history, strict=True)]
        save_or_say(write_table, self.folder / "curve.csv", rows)
        figure = plot_losses(history).figure
        save_or_say(write_atomically, self.folder / "curve.png",
                    lambda temporary: figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None}))


def set_aside(out: Path) -> None:
    """Move the run that is there into a folder of its own, the checkpoint last, so that no half of a run is taken for one."""
    files = [out / name for name in RUN if (out / name).exists()]
    if files:
        folder = next(out / f"before-{n}" for n in range(1, 1000) if not (out / f"before-{n}").exists())
        folder.mkdir()
        for file in files:
            if file.is_symlink():                     # a relative link would lead nowhere from there
                (folder / file.name).symlink_to(file.resolve())
                file.unlink()
            else:
                file.rename(folder / file.name)
        print(f"The run that was here is now in {folder}")
    else:
        print(f"There is no run in {out} yet: this is the first")


def test(settings: dict, ids: torch.Tensor, device: torch.device) -> None:
    """Print the test loss of the best weights, with its standard error, and a sample of what they write."""
    best = compute_in(settings["precision"], load_weights(settings["out"] / "best.safetensors").to(device), device)
    losses = calc_token_losses(part_loader(ids, settings["test_iter"], settings), best, device)
    windows = losses.view(-1, settings["context_length"]).mean(1)      # neighbouring tokens are not independent
    error = f" ± {windows.std().item() / len(windows) ** 0.5:.3f}" if len(windows) > 1 else ""
    print(f"Test loss of the best weights: {losses.mean().item():.3f}{error} nats per token (standard error over "
          f"{len(windows):,} windows)")
    generate_and_print_sample(best, get_tokenizer(), device, settings["prompt"])


def train(settings: dict, ids: torch.Tensor, device: torch.device) -> bool:
    """Train, or go on, until the settings say that it is enough; whether that was reached. Raises OSError if it was not saved."""
    out, tokenizer = settings["out"], get_tokenizer()
    accumulate = settings["accumulate"] or size()
    cfg = configuration(settings, tokenizer.n_vocab)
    context = settings["context_length"]
    split = split_of(settings, ids)
    if settings["prompt"] is None:
        settings["prompt"] = tokenizer.decode(ids[:8].tolist()).rstrip("\ufffd") or " "

    torch.manual_seed(settings["seed"])
    loaders = (create_dataloader(split.train, settings["batch_size"], context, shuffle=True),
               part_loader(split.val, settings["eval_iter"], settings))
    tokens = settings["batch_size"] * accumulate * context
    steps = min(math.ceil(len(loaders[0]) / accumulate) * settings["epochs"], settings["max_steps"])
    if settings["max_tokens"]:
        steps = min(steps, math.ceil(settings["max_tokens"] / tokens))
    lr, eval_freq = settings["lr"], settings["eval_freq"] or max(1, steps // 40)
    plan = settings | {"steps": steps, "warmup": steps // 20 if settings["warmup"] is None else settings["warmup"],
                       "min_lr": lr / 10 if settings["min_lr"] is None else settings["min_lr"]}
    model = compute_in(settings["precision"], GPTModel(cfg).to(device), device)
    print(f"{settings['text'].name}: {len(ids):,} tokens, of which {len(split.train):,} train, {len(split.val):,} validate and "
          f"{len(split.test):,} test\n{settings['config']}: {sum(p.numel() for p in model.parameters()):,} weights, context "
          f"{context:,}; {steps:,} updates of {tokens:,} tokens, highest learning rate {lr:g}\nEverything is saved in {out}",
          flush=True)

    resume = from_first((out / "checkpoint.pt").exists())
    if not (resume or settings.get("no_preflight")):
        optimizer, scheduler = new_optimizer(model, plan)
        require_sound(model, loaders, optimizer, tokenizer, scheduler=scheduler, steps=steps)
    model = wrap(torch.compile(model) if settings["compile"] else model, settings["engine"])
    optimizer, scheduler = new_optimizer(model, plan)
    kept = {name: settings[name] for name in (*DEFAULTS, "prompt")}
    kept |= {"text": str(settings["text"]), "accumulate": accumulate}      # so that updates stay what they are
    if FIRST and not resume:
        write_settings(out, kept)                     # a checkpoint is nothing without them
    curve = Curve(out, kept)
    train_model(model, *loaders, optimizer, device, settings["epochs"], eval_freq, settings["eval_iter"], settings["prompt"],
                tokenizer, scheduler=scheduler, max_grad_norm=settings["max_grad_norm"], accumulate=accumulate,
                max_steps=steps, checkpoint_path=out / "checkpoint.pt", checkpoint_freq=settings["checkpoint_freq"] or eval_freq,
                resume=True, best_path=out / "best.safetensors", callbacks=[Progress(steps), curve])
    finished = scheduler.last_epoch >= steps
    saved = file_at(out / "checkpoint.pt") != curve.checkpoint      # as it is at the end and by hand, and not after nan
    if FIRST and not finished and not saved and curve.checkpoint:
        print("After a loss that was nan, go on with a smaller lr=…, or it will be nan again")
    if finished and FIRST:
        test(settings, split.test, device)
        if not saved:
            raise OSError("the last updates are in no checkpoint; make room for one, and the same command takes them again")
    return finished


def complain(words: object, everyone: bool = False) -> None:
    """Say in one line on stderr what is wrong; of several processes the first of each machine does, unless it is for everyone."""
    if everyone or not TOGETHER or os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"train.py: {words}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run the program; its exit status: 0 when all is done, 1 when training stopped before, 2 when something was wrong."""
    signal.signal(signal.SIGINT, signal.default_int_handler)      # a shell may have switched it off: nohup … &
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))      # a cluster's way to press Ctrl-C
    again = "the same command"
    try:
        given = parse(arguments)
        if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":      # torchrun starts the command once more, to go on
            given.pop("restart", None)
        settings = all_settings(given)
        with contextlib.redirect_stdout(sys.stdout if FIRST else io.StringIO()):
            device = prepare_device(pick_device(settings.get("device")))
        settings = resolved(settings, device)
        with folder_of(settings):
            ids = tokens_of(settings)
            with processes(device, settings["timeout"]) as device:
                split_of(settings, ids)               # refused before anything is moved
                if settings.get("restart") and FIRST:
                    set_aside(settings["out"])
                    again += ", without --restart,"
                from_first(None)                      # nobody looks for a checkpoint before that
                if train(settings, ids, device):
                    return 0
                start = f"torchrun --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']}" if size() > 1 else "python"
                if (settings["out"] / "checkpoint.pt").exists():
                    print(f"To go on from the last checkpoint: {start} {sys.argv[0]} --out {shlex.quote(str(settings['out']))}")
                else:
                    print("There is no checkpoint yet: begin again; after a loss that was nan, with a smaller lr=…")
                return 1
    except KeyboardInterrupt:
        complain(f"stopped; {again} goes on from here")
        return 1
    except OSError as error:
        complain(f"{error.strerror}: {str(error.filename)!a:.80}; name another file or folder" if error.filename else
                 f"{error.strerror}; mend that, and {again} goes on from here" if error.strerror else error)
    except ValueError as error:
        complain(f"{error} with --restart" if str(error).endswith("start over") else error)
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):      # `processes` has said what came
            complain(f"another process has stopped or does not answer; {again} goes on from the last checkpoint", everyone=True)
            return 2
        if "memory" not in str(error) and "overflow" not in str(error):
            raise
        complain("there is too little memory: use a smaller batch_size, with a larger accumulate, or a smaller model")
    return 2


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):      # an old terminal, or a file on Windows, may not know every character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    status = main(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)      # whatever had to be saved is saved
    sys.exit(status)
