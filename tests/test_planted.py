"""`preflight` on programs of other people: healthy ones are left in peace, and faults that lesson 09 doesn't list are found."""
import math
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

from gpt_helpers.diagnose import preflight
from gpt_helpers.lessons.healthy import END_ID, LOG
from gpt_helpers.words import entry_windows

V, T, STEPS = LOG.tokenizer.n_vocab, 24, 300
IDS, VAL_IDS = LOG.write(12_000, seed=1), LOG.write(2_000, seed=0)


def windows(ids, length=T):
    """Consecutive windows, (inputs, targets)."""
    count = (len(ids) - 1) // length
    return TensorDataset(*(ids[start : start + count * length].view(count, length).clone() for start in (0, 1)))


class Block(nn.Module):
    """Attention and a feed-forward layer, as a learner writes them with PyTorch's own modules."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))

    def forward(self, x):
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.feed_forward(self.norm2(x))


class Model(nn.Module):
    """A small GPT of somebody else."""

    def __init__(self, width=32, length=T):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, V, bias=False)

    def logits(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def forward(self, ids):
        return self.logits(ids)


class LastOnly(Model):
    """Scores only the last position, unless it is given targets."""

    def forward(self, ids, targets=None):
        if targets is None:
            return self.logits(ids)[:, -1:], None
        logits = self.logits(ids)
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


class Flat(Model):
    def forward(self, ids):
        return self.logits(ids).flatten(0, 1)


class Named(Model):
    def forward(self, ids):
        return {"loss": None, "logits": self.logits(ids)}


class Recurrent(nn.Module):
    """No attention at all."""

    def __init__(self):
        super().__init__()
        self.tokens, self.lstm, self.head = nn.Embedding(V, 32), nn.LSTM(32, 48, batch_first=True), nn.Linear(48, V)

    def forward(self, ids):
        return self.head(self.lstm(self.tokens(ids))[0])


class Program:
    """A training in the usual form; every part of it can be exchanged."""

    def __init__(self, model=Model, optimizer=lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.1), scheduler=None):
        torch.manual_seed(5)
        self.model = model()
        self.train_loader = DataLoader(windows(IDS), 16, shuffle=True, drop_last=True)
        self.val_loader = DataLoader(windows(VAL_IDS), 16)
        self.optimizer = optimizer(self.model.parameters())
        self.scheduler = scheduler and scheduler(self.optimizer)
        self.options = {"steps": STEPS}

    def loss(self, inputs, targets):
        out = self.model(inputs, targets) if isinstance(self.model, LastOnly) else self.model(inputs)
        out = out["logits"] if isinstance(out, dict) else out[0] if isinstance(out, tuple) else out
        return F.cross_entropy(out.reshape(-1, V), targets.flatten())

    def step(self, inputs, targets):
        self.optimizer.zero_grad()
        self.loss(inputs, targets).backward()
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        total = sum(self.loss(*batch).item() * batch[1].numel() for batch in self.val_loader)
        self.model.train()
        return total / sum(batch[1].numel() for batch in self.val_loader)

    def look(self, **options):
        return preflight(self.model, (self.train_loader, self.val_loader), self.optimizer, LOG.tokenizer,
                         **{"step": self.step, "evaluate": self.evaluate, "scheduler": self.scheduler, **self.options, **options})


def a_few(programs):
    """All of them in the full run, some in the quick one."""
    return [pytest.param(name, marks=[] if number % 8 == 0 else pytest.mark.slow) for number, name in enumerate(programs)]


def method(program, name, function):
    """Exchange a method of one program."""
    setattr(program, name, types.MethodType(function, program))
    return program


# Healthy programs: no fault is found.

def noam(optimizer, warm_up=40):
    """The schedule of "Attention Is All You Need"; the optimizer's own learning rate is 1."""
    return LambdaLR(optimizer, lambda step: 32**-0.5 * min((step + 1) ** -0.5, (step + 1) * warm_up**-1.5))


def frozen_embedding():
    program = Program()
    program.model.tokens.requires_grad_(False)
    program.optimizer = torch.optim.AdamW([p for p in program.model.parameters() if p.requires_grad], 3e-3)
    return program


def muon_and_adamw():
    program = Program()
    matrices = [p for p in program.model.blocks.parameters() if p.ndim == 2]
    kept = {id(p) for p in matrices}
    rest = [p for p in program.model.parameters() if id(p) not in kept]
    program.optimizer = [torch.optim.Muon(matrices, lr=0.02), torch.optim.AdamW(rest, 3e-3)]

    def step(self, inputs, targets):
        self.model.zero_grad()
        self.loss(inputs, targets).backward()
        for optimizer in self.optimizer:
            optimizer.step()

    return method(program, "step", step)


def step_sets_the_mode():
    program = method(Program(), "evaluate", torch.no_grad()(lambda self: sum(
        self.loss(*batch).item() for batch in self.val_loader) / len(self.val_loader) if self.model.eval() else None))

    def step(self, inputs, targets):
        self.model.train()
        Program.step(self, inputs, targets)

    return method(program, "step", step)


def padding_of_minus_one():
    program = Program(LastOnly)
    for loader in (program.train_loader, program.val_loader):
        loader.dataset.tensors[1][:, ::5] = -1
    program.loss = lambda inputs, targets: program.model(inputs, targets)[1]

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            parts = [(self.loss(*batch).item(), (batch[1] >= 0).sum().item()) for batch in self.val_loader]
        self.model.train()
        return sum(loss * count for loss, count in parts) / sum(count for _, count in parts)

    return method(program, "evaluate", evaluate)


def average_of_weights():
    program = Program()
    average = torch.optim.swa_utils.AveragedModel(program.model)
    return method(program, "evaluate", torch.no_grad()(lambda self: F.cross_entropy(
        average.eval()(IDS[:T].view(1, T)).flatten(0, 1), IDS[1 : T + 1]).item()))


def lengths_differ():
    program = Program()
    program.train_loader = [(x[:, :length], y[:, :length]) for length, (x, y) in
                            zip([24, 20, 24, 22] * 100, program.train_loader, strict=False)]
    return program


HEALTHY = {
    "plain": Program,
    "only the last position": lambda: Program(LastOnly),
    "flat logits": lambda: Program(Flat),
    "a dict": lambda: Program(Named),
    "recurrent": lambda: Program(Recurrent),
    "double precision": lambda: Program(lambda: Model().double()),
    "tied": lambda: Program(tied),
    "SGD": lambda: Program(optimizer=lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "NAdam": lambda: Program(optimizer=lambda p: torch.optim.NAdam(p, 3e-3)),
    "LBFGS": lambda: method(Program(optimizer=torch.optim.LBFGS), "step", lambda self, *batch: self.optimizer.step(
        lambda: self.optimizer.zero_grad() or (loss := self.loss(*batch)).backward() or loss)),
    "Muon and AdamW": muon_and_adamw,
    "Noam": lambda: Program(optimizer=lambda p: torch.optim.Adam(p, 1.0, betas=(0.9, 0.98), eps=1e-9), scheduler=noam),
    "Noam, not told": lambda: without_scheduler(Program(optimizer=lambda p: torch.optim.Adam(p, 1.0), scheduler=noam)),
    "warm-up from 0": lambda: Program(scheduler=lambda o: LambdaLR(o, lambda step: min(1, step / 50))),
    "linear warm-up": lambda: Program(scheduler=lambda o: LinearLR(o, 0.01, total_iters=30)),
    "cosine": lambda: Program(scheduler=lambda o: CosineAnnealingLR(o, STEPS)),
    "one cycle": lambda: Program(scheduler=lambda o: OneCycleLR(o, 3e-3, total_steps=STEPS)),
    "two steps left": lambda: two_steps_left(Program(scheduler=lambda o: OneCycleLR(o, 3e-3, total_steps=STEPS))),
    "plateau": lambda: method(Program(scheduler=ReduceLROnPlateau), "step", plateau_step),
    "a frozen part": frozen_embedding,
    "the step sets the mode": step_sets_the_mode,
    "padding of -1": padding_of_minus_one,
    "an average is evaluated": average_of_weights,
    "lengths differ": lengths_differ,
    "padded on the right": lambda: loaders_of(Program(), padded_entries),
    "padded on the left": lambda: loaders_of(Program(), lambda ids: TensorDataset(*(part.flip(1) for part in reversed(
        padded_entries(ids.flip(0)).tensors)))),
    "prompts are not scored": lambda: loaders_of(Program(), prompts_not_scored),
    "SGD that clips": lambda: method(Program(optimizer=lambda p: torch.optim.SGD(p, 20.0)), "step", clipped_step),
    "RMSprop": lambda: Program(optimizer=lambda p: torch.optim.RMSprop(p, 3e-3)),
    "Adagrad": lambda: Program(optimizer=lambda p: torch.optim.Adagrad(p, 1e-2)),
    "values clipped": lambda: method(Program(), "step", value_clipped_step),
    "strong dropout": lambda: Program(lambda: with_dropout(0.6)),
    "many experts": lambda: Program(with_experts),
    "a step for whole batches": lambda: method(large_batches(Program()), "step", whole_batch_step),
    "schedule of epochs": lambda: method(Program(scheduler=lambda o: StepLR(o, 2, 0.1)), "step", no_schedule_step),
    "short windows": lambda: loaders_of(Program(), lambda ids: windows(ids, 8)),
    "no validation": lambda: no_validation(Program()),
    "answers alone are scored": lambda: loaders_of(Program(), last_target_alone),
}


def tied():
    model = Model()
    nn.init.normal_(model.tokens.weight, std=0.02)
    model.head.weight = model.tokens.weight
    return model


def without_scheduler(program):
    program.scheduler = None
    return program


def two_steps_left(program):
    for _ in range(STEPS - 2):
        program.optimizer.step()
        program.scheduler.step()
    return program


def plateau_step(self, inputs, targets):
    self.optimizer.zero_grad()
    loss = self.loss(inputs, targets)
    loss.backward()
    self.optimizer.step()
    self.scheduler.step(loss.item())


def padded_entries(ids):
    """A window for each entry of the log, padded at its end with a token that is not that of the text's end."""
    inputs, targets = entry_windows(ids[ids.tolist().index(END_ID) :], END_ID, 48).tensors
    return TensorDataset(torch.where(targets == -100, 1, inputs)[:, :T], targets[:, :T])


def prompts_not_scored(ids):
    inputs, targets = padded_entries(ids).tensors
    targets[:, :8] = -100
    return TensorDataset(inputs, targets)


def clipped_step(self, inputs, targets):
    self.optimizer.zero_grad()
    self.loss(inputs, targets).backward()
    nn.utils.clip_grad_norm_(self.model.parameters(), 0.05)
    self.optimizer.step()


def value_clipped_step(self, inputs, targets):
    self.optimizer.zero_grad()
    self.loss(inputs, targets).backward()
    nn.utils.clip_grad_value_(self.model.parameters(), 1e-3)
    self.optimizer.step()


def large_batches(program):
    program.train_loader = DataLoader(windows(IDS), 128, shuffle=True, drop_last=True)
    return program


def whole_batch_step(self, inputs, targets):
    self.optimizer.zero_grad()
    F.cross_entropy(self.model(inputs).view(128, T, V).flatten(0, 1), targets.flatten()).backward()
    self.optimizer.step()


def no_schedule_step(self, inputs, targets):
    self.optimizer.zero_grad()
    self.loss(inputs, targets).backward()
    self.optimizer.step()


def with_dropout(rate):
    model = Model()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
    return model


class Experts(nn.Module):
    """Each token goes to one of many feed-forward layers."""

    def __init__(self, width=32, many=64):
        super().__init__()
        self.router, self.experts = nn.Linear(width, many), nn.ModuleList(nn.Linear(width, width) for _ in range(many))

    def forward(self, x):
        weight, chosen = self.router(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            out[chosen == number] = expert(x[chosen == number])
        return out * weight[..., None]


def with_experts():
    model = Model()
    model.blocks[0].feed_forward = Experts()
    return model


def no_validation(program):
    program.val_loader, program.options = None, {"evaluate": None}
    return program


def last_target_alone(ids):
    inputs, targets = windows(ids).tensors
    targets = targets.clone()
    targets[:, :-1] = -100
    return TensorDataset(inputs, targets)


def loaders_of(program, cut):
    """The program with other windows."""
    program.train_loader = DataLoader(cut(IDS), 16, shuffle=True, drop_last=True)
    program.val_loader = DataLoader(cut(VAL_IDS), 16)
    return program


@pytest.mark.parametrize("name", a_few(HEALTHY))
def test_a_healthy_program_is_left_in_peace(name):
    program = HEALTHY[name]()
    before, state = [p.clone() for p in program.model.parameters()], torch.get_rng_state()
    report = program.look()
    assert report.faults == [], report
    assert name == "LBFGS" or "could not be tested" not in repr(report), report      # it needs a closure
    assert all(map(torch.equal, before, program.model.parameters())) and torch.equal(state, torch.get_rng_state())


# Faults that the lesson does not list: (program, a word of what must be said).

def changed_loss(change):
    program = Program()
    program.loss = lambda inputs, targets: change(program.model(inputs), targets)
    return program


def model_with(change):
    """A program whose model was changed when it was made."""
    def make():
        model = Model()
        change(model)
        return model
    return Program(make)


class Leaky(nn.Module):
    """Attention of one head that masks after the softmax, whose sum has seen the future."""

    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)

    def shares(self, q, k, mask):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).masked_fill(mask, 0)

    def forward(self, x, *_, attn_mask, **__):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.shares(q, k, attn_mask) @ v, None


class Copied(Leaky):
    """Attention whose keys are its queries."""

    def shares(self, q, k, mask):
        return (q @ q.mT / q.shape[-1] ** 0.5).masked_fill(mask, -math.inf).softmax(-1)


def places_of(places):
    """Change a model: its positions are what the function says of the ids."""
    def change(model):
        def logits(self, ids):
            x = self.tokens(ids) + self.places(places(ids))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))
        model.logits = types.MethodType(logits, model)
    return change


def new_optimizer_step(self, inputs, targets):
    self.model.zero_grad()
    self.loss(inputs, targets).backward()
    torch.optim.AdamW(self.model.parameters(), 3e-3).step()


def in_a_list(model):
    hidden = list(model.blocks)
    del model.blocks
    model.blocks = hidden


def with_batch_norm(model):
    norm = nn.BatchNorm1d(32)
    model.mix, plain = norm, model.norm
    model.norm = nn.Module()
    model.norm.inner, model.norm.forward = plain, lambda x: norm(plain(x).transpose(1, 2)).transpose(1, 2)


def stepping(*before, again=False, after=lambda self: None):
    """A program whose step does something else as well."""
    def step(self, inputs, targets):
        for each in before:
            each(self)
        Program.step(self, inputs, targets)
        if again:
            self.optimizer.step()
        after(self)
    return method(Program(), "step", step)


def evaluating(change):
    return method(Program(), "evaluate", lambda self: change(Program.evaluate(self), self))


def adamw(**settings):
    return lambda: Program(optimizer=lambda p: torch.optim.AdamW(p, **{"lr": 3e-3, **settings}))


def two_groups(p):
    first, *rest = p
    return torch.optim.AdamW([{"params": [first], "lr": 0.0}, {"params": rest}], 3e-3)


def with_targets(change):
    """A program whose targets were changed."""
    return lambda: loaders_of(Program(), lambda ids: TensorDataset(windows(ids).tensors[0], change(*windows(ids).tensors)))


PLANTED = {
    "targets rolled": (with_targets(lambda x, y: x.roll(-1, 1)), "roll"),
    "targets are the token before": (with_targets(lambda x, y: x.roll(1, 1)), "one place to the right"),
    "all targets are padding": (with_targets(lambda x, y: torch.full_like(y, -100)), "no loss counts"),
    "targets of another row": (with_targets(lambda x, y: y.roll(1, 0)), "shuffled or cut separately"),
    "ids beyond the vocabulary": (lambda: loaders_of(Program(), lambda ids: windows(ids + 5)), "the model knows 0 to"),
    "windows longer than the positions": (lambda: loaders_of(Program(), lambda ids: windows(ids, 48)), "cannot take a window"),
    "one window in all rows": (lambda: rows_alike(Program()), "the same window"),
    "validation is training": (lambda: same_text(Program()), "stand in the training text"),
    "keys are queries": (lambda: model_with(lambda m: setattr(m.blocks[0], "attention", Copied(32))), "never get a gradient"),
    "positions from the end": (lambda: model_with(places_of(lambda x: torch.arange(x.shape[1]).flip(0))), "from the end"),
    "positions of the row": (lambda: model_with(places_of(lambda x: torch.arange(len(x))[:, None] % T)), "over rows"),
    "positions all 0": (lambda: model_with(places_of(lambda x: torch.zeros_like(x[0]))), "only one row of places"),
    "masked after the softmax": (lambda: model_with(lambda m: setattr(m.blocks[1], "attention", Leaky(32))), "a later token"),
    "logits through a sigmoid": (lambda: model_with(lambda m: m.register_forward_hook(lambda *a: a[2].sigmoid())), "from 0 to 1"),
    "validation reversed": (lambda: loaders_of(Program(), lambda ids: windows(ids.flip(0) if len(ids) < 5_000 else ids)),
                            "reversed, or shuffled"),
    "a new optimizer in each step": (lambda: method(Program(), "step", new_optimizer_step), "a new one made in each step"),
    "the seed set in each step": (lambda: stepping(lambda self: torch.manual_seed(1)), "sets the random seed"),
    "a cosine for epochs": (lambda: Program(scheduler=lambda o: CosineAnnealingLR(o, 10)), "was it made for epochs"),
    "a step that fails": (lambda: stepping(lambda self: self.nothing), "your step fails"),
    "evaluation leaves gradients off": (lambda: evaluating(lambda loss, self: (torch.set_grad_enabled(False), loss)[1]),
                                        "leaves gradients switched off"),
    "evaluation freezes": (lambda: evaluating(lambda loss, self: self.model.requires_grad_(False) and loss),
                           "leaves gradients switched off"),
    "all is frozen": (lambda: model_with(lambda m: m.requires_grad_(False)), "all weights are frozen"),
    "blocks in a plain list": (lambda: model_with(in_a_list), "nn.ModuleList"),
    "BatchNorm": (lambda: model_with(with_batch_norm), "in train mode"),
    "a constant layer": (lambda: model_with(lambda m: nn.init.constant_(m.head.weight, 0.02)), "will learn the same"),
    "padding_idx is a word": (lambda: model_with(lambda m: setattr(m.tokens, "padding_idx", 3)), "never learns"),
    "logits through a ReLU": (lambda: model_with(lambda m: m.register_forward_hook(lambda *a: a[2].relu())),
                             "activation after the head"),
    "weights of nan": (lambda: model_with(lambda m: nn.init.constant_(m.norm.weight, math.nan)), "nan"),
    "maximize": (adamw(maximize=True), "climbs the loss"),
    "betas swapped": (adamw(betas=(0.999, 0.9)), "swapped"),
    "a group without a rate": (lambda: Program(optimizer=two_groups), "learning rate 0"),
    "decay of 100": (adamw(weight_decay=100), "too large"),
    "lr of 3": (adamw(lr=3.0), "too large"),
    "two steps for a batch": (lambda: stepping(again=True), "twice"),
    "in eval mode": (lambda: stepping(lambda self: self.model.eval()), "eval mode"),
    "the schedule stepped twice": (lambda: twice(Program(scheduler=lambda o: CosineAnnealingLR(o, STEPS))), "called twice"),
    "cosine never stepped": (lambda: never(Program(scheduler=lambda o: CosineAnnealingLR(o, STEPS))),
                             "does not step the scheduler"),
    "the schedule of another optimizer": (lambda: another_optimizers(Program()), "belongs to another optimizer"),
    "a rate set by hand": (lambda: stepping(after=rate_set_by_hand), "sets the learning rate to"),
    "padding on the left is scored": (lambda: loaders_of(Program(), padded_left), "at the beginnings of windows"),
    "five of a hundred labels wrong": (with_targets(lambda x, y: torch.where(torch.rand(y.shape) < 0.05, y.roll(7, 0), y)),
                                       "one place to the right"),
    "weights set to nan by a step": (lambda: stepping(after=lambda self: self.model.norm.weight.data.fill_(math.nan)), "nan"),
    "the loss of one token": (lambda: changed_loss(lambda out, y: F.cross_entropy(out[:, 0], y[:, 0])), "another gradient"),
    "smoothed by 0.9": (lambda: changed_loss(lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten(), label_smoothing=0.9)),
                        "another gradient"),
    "log of log-softmax": (lambda: changed_loss(lambda out, y: F.nll_loss(out.flatten(0, 1).softmax(-1), y.flatten())),
                           "another gradient"),
    "a loss cut from its graph": (lambda: changed_loss(lambda out, y: F.cross_entropy(
        out.flatten(0, 1).detach().requires_grad_(), y.flatten())), "attached to its graph"),
    "a loss a thousand times too large": (lambda: changed_loss(lambda out, y: 1000 * F.cross_entropy(
        out.flatten(0, 1), y.flatten())), "times that of the mean"),
    "evaluation gives nothing": (lambda: evaluating(lambda loss, self: None), "need the validation loss as a number"),
    "evaluation gives nan": (lambda: evaluating(lambda loss, self: math.nan), "evaluating gives nan"),
    "evaluation gives the sum": (lambda: evaluating(lambda loss, self: loss * 100), "the mean over the tokens"),
    "evaluation changes a weight": (lambda: evaluating(lambda loss, self: self.model.norm.bias.data.add_(1) is None or loss),
                                    "changes the weights"),
    "evaluation leaves eval mode": (lambda: evaluating(lambda loss, self: self.model.eval() and loss), "still in eval mode"),
}
NOTED = {      # said, but not called a fault
    "evaluation in bits": (lambda: evaluating(lambda loss, self: loss / math.log(2)), "in bits"),
    "evaluation of perplexity": (lambda: evaluating(lambda loss, self: math.exp(loss)), "the perplexity"),
    "lr of 1e-9": (adamw(lr=1e-9), "too small"),
    "half of the text is unknown": (lambda: loaders_of(Program(), lambda ids: windows(torch.where(
        torch.rand(ids.shape) < 0.6, 0, ids))), "unknown words"),
    "dropout of what should be kept": (lambda: Program(lambda: with_dropout(0.9)), "the share to keep"),
    "a warm-up longer than the training": (lambda: Program(scheduler=lambda o: LinearLR(o, 0.01, total_iters=3 * STEPS)),
                                           "rises to the very end"),
    "rates far apart": (lambda: Program(optimizer=lambda p: torch.optim.AdamW([
        {"params": each, "lr": lr} for each, lr in zip(p, [1e-9] + [3e-3] * 99, strict=False)])), "have learning rates from"),
    "the last target filled in": (with_targets(lambda x, y: torch.cat([y[:, :-1], torch.zeros_like(y[:, :1])], 1)), "filled in"),
}


def rows_alike(program):
    program.train_loader = [(x[:1].repeat(16, 1), y[:1].repeat(16, 1)) for x, y in program.train_loader]
    return program


def same_text(program):
    program.val_loader = DataLoader(windows(IDS), 16)
    return program


def twice(program):
    return method(program, "step", lambda self, x, y: Program.step(self, x, y) or self.scheduler.step())


def never(program):
    return method(program, "step", no_schedule_step)


def another_optimizers(program):
    program.scheduler = CosineAnnealingLR(torch.optim.SGD(program.model.parameters(), 0.1), STEPS)
    return program


def rate_set_by_hand(self):
    for group in self.optimizer.param_groups:
        group["lr"] = 3.0


def padding_scored_on_the_left(x, y):
    x, y = x.clone(), y.clone()
    x[:, :10], y[:, :9] = 1, 1
    y[:, 9] = x[:, 10]
    return x, y


def padded_left(ids):
    return TensorDataset(*padding_scored_on_the_left(*windows(ids).tensors))


@pytest.mark.parametrize("name", a_few(PLANTED))
def test_a_planted_fault_is_found_and_named(name):
    make, words = PLANTED[name]
    report = make().look()
    assert report.faults and any(words in told for told in report.faults), report


@pytest.mark.parametrize("name", a_few(NOTED))
def test_what_may_be_meant_is_said_and_not_called_a_fault(name):
    make, words = NOTED[name]
    report = make().look()
    assert report.faults == [] and words in repr(report), report


@pytest.mark.parametrize("optimizer", [lambda p: torch.optim.AdamW(p, 3e-3), lambda p: torch.optim.Adagrad(p, 1e-2),
                                       lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)])
def test_an_optimizer_that_has_trained_goes_on_as_if_nothing_had_been(optimizer):
    ends = []
    for look in (False, True):
        program = Program(optimizer=optimizer)
        batches = list(program.train_loader)[:6]
        for batch in batches[:3]:
            program.step(*batch)
        group = program.optimizer.param_groups[0]
        if look:
            program.look()
        assert program.optimizer.param_groups[0] is group
        torch.manual_seed(9)
        for batch in batches[3:]:
            program.step(*batch)
        ends.append(nn.utils.parameters_to_vector(program.model.parameters()))
    assert torch.equal(*ends)


def test_a_compiled_model_is_not_compiled_for_the_tests():
    compiled = []
    program = Program()
    program.model = torch.compile(program.model, backend=lambda graph, inputs: compiled.append(1) or graph)
    report = program.look(step=None, evaluate=None)
    assert report.faults == [] and compiled == []


def test_a_schedule_of_a_hundred_million_steps_takes_no_longer():
    program = Program(scheduler=lambda o: CosineAnnealingLR(o, 10**8))
    report = program.look(steps=10**8)
    assert report.faults == [] and "the others were not looked at" in report["schedule"].words


def test_a_training_may_be_looked_at_where_gradients_are_off():
    with torch.no_grad():
        report = Program().look()
        assert not torch.is_grad_enabled()
    assert report.faults == [] and "could not be tested" not in repr(report)


# What is no training is refused in a line.

class Failing(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        raise KeyError("input_ids")


BAD = {
    "no weights": (lambda p: {"model": nn.ReLU()}, "without weights"),
    "no model": (lambda p: {"model": None}, "without weights"),
    "lazy": (lambda p: {"model": nn.Sequential(nn.LazyLinear(3))}, "lazy layers"),
    "a tokenizer's name": (lambda p: {"tokenizer": "gpt2"}, "got a tokenizer of type str"),
    "meta": (lambda p: {"model": p.model.to("meta")}, "on the meta device"),
    "no optimizer": (lambda p: {"optimizer": None}, "got an optimizer of type NoneType"),
    "an empty list of optimizers": (lambda p: {"optimizer": []}, "got an optimizer of type list"),
    "an iterator": (lambda p: {"loaders": (iter(p.train_loader), p.val_loader)}, "gone through again"),
    "a number as loader": (lambda p: {"loaders": (p.train_loader, 3)}, "got a int as the validation loader"),
    "int32 targets": (lambda p: {"loaders": ([(x, y.int()) for x, y in p.train_loader], p.val_loader)}, "torch.int32"),
    "float inputs": (lambda p: {"loaders": ([(x.float(), y) for x, y in p.train_loader], p.val_loader)}, "torch.float32"),
    "shapes differ": (lambda p: {"loaders": ([(x, y[:, 1:]) for x, y in p.train_loader], p.val_loader)}, "need a pair"),
    "dicts": (lambda p: {"loaders": ([{"x": x} for x, _ in p.train_loader], p.val_loader)}, "gives a dict"),
    "texts": (lambda p: {"loaders": (["ab"], p.val_loader)}, "gives a str"),
    "empty": (lambda p: {"loaders": (p.train_loader, [])}, "the validation loader gives no batch"),
    "a device that is not here": (lambda p: {"device": "cuda:99"}, "got the device"),
    "a scheduler's name": (lambda p: {"scheduler": "cosine"}, "got a scheduler of type str"),
    "a scheduler's class": (lambda p: {"scheduler": OneCycleLR}, "got a scheduler of type"),
    "one loader": (lambda p: {"loaders": p.train_loader}, "need a pair: (train_loader"),
    "a loader that fails": (lambda p: {"loaders": (DataLoader(Failing()), p.val_loader)}, "loader fails"),
    "no steps": (lambda p: {"steps": 0}, "got steps=0"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_training_is_refused_in_a_line(name):
    program = Program()
    change, words = BAD[name]
    given = {"model": program.model, "loaders": (program.train_loader, program.val_loader), "optimizer": program.optimizer,
             "tokenizer": LOG.tokenizer, **change(program)}
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as told:
        preflight(**given)
    assert "\n" not in str(told.value)
