"""Faults of a training run, each a change of a line or two in a program that is sound: `healthy`, with the parts that it uses.

`training("no_zero_grad")` is that run with the fault in it, `diff` shows the lines. Source: the faults are those that users
of similar programs report; what each does to a curve was measured with `scripts/broken_loops.py`.
"""
import difflib
import inspect
import linecache
from typing import Any

from gpt_helpers import loss, model, words
from gpt_helpers.lessons import healthy
from gpt_helpers.validate import require_known

PARTS = (words.entry_windows, model.GPTModel, model.TransformerBlock, model.CausalAttention, model.FeedForward,
         loss.calc_loss_batch, loss.calc_loss_loader, healthy.Training)
HEALTHY = "\n\n".join(map(inspect.getsource, PARTS))


class Fault:
    """A fault: its group, what is wrong, in words, and the changes: old line, new line, old line, new line …"""

    def __init__(self, group: str, words: str, *changes: str):
        self.group, self.words, self.changes = group, words, list(zip(changes[::2], changes[1::2], strict=True))


TRAIN = "        self.train_loader ="                   # before this, the data can be changed
MODEL = "        self.model = GPTModel(CONFIG)\n"      # after this, the weights
STEPPED = "        self.scheduler.step()\n"
LOSS = 'loss = calc_loss_loader(self.val_loader, self.model, "cpu")\n'

FAULTS = {
    "targets_not_shifted": Fault("data", "the targets are the inputs themselves",
        "window[:, 1:], PADDING", "window[:, :-1], PADDING"),
    "targets_shifted_twice": Fault("data", "the targets are two tokens later",
        "window[:, 1:], PADDING", "window[:, 1:].roll(-1, dims=1), PADDING"),
    "targets_shuffled": Fault("data", "inputs and targets are shuffled separately",
        TRAIN, "        train.tensors = (train.tensors[0], train.tensors[1][torch.randperm(len(train))])\n" + TRAIN),
    "not_shuffled": Fault("data", "the training windows come in the same order in every epoch",
        "shuffle=True", "shuffle=False"),
    "sorted_data": Fault("data", "the training windows are sorted, and not shuffled",
        "shuffle=True", "shuffle=False",
        TRAIN, "        train.tensors = tuple(rows[train.tensors[0][:, 1].argsort()] for rows in train.tensors)\n" + TRAIN),
    "validation_leaks": Fault("data", "the validation text is a part of the training text, too",
        "for ids in (train_ids, val_ids))", "for ids in (torch.cat([train_ids, val_ids]), val_ids))"),
    "validation_is_training": Fault("data", "the loss is measured on the training text, of which there is little",
        "for ids in (train_ids, val_ids))", "for ids in (train_ids[:2_000], train_ids[:2_000]))"),
    "one_batch": Fault("data", "the training data is cut to one batch, left over from a test",
        TRAIN, "        train.tensors = tuple(rows[:BATCH_SIZE] for rows in train.tensors)\n" + TRAIN),
    "text_cut_off": Fault("data", "only the first two thousand tokens of the text are used",
        "for ids in (train_ids, val_ids))", "for ids in (train_ids[:2_000], val_ids))"),
    "another_tokenizer": Fault("data", "the validation text was encoded with another vocabulary",
        "for ids in (train_ids, val_ids))",
        "for ids in (train_ids, torch.where(val_ids == END_ID, END_ID, len(VOCABULARY) - val_ids)))"),
    "padding_counted": Fault("data", "padding is scored like a word",
        "window[:, 1:], PADDING", "window[:, 1:], end"),
    "windows_too_short": Fault("data", "training sees windows of 16 tokens, and validation of 48",
        TRAIN, "        train.tensors = tuple(rows[:, :16] for rows in train.tensors)\n" + TRAIN),

    "no_mask": Fault("model", "attention sees the tokens that come later",
        "is_causal=q.shape[2] > 1", "is_causal=False"),
    "heads_not_transposed": Fault("model", "the heads are put together without transposing back, which mixes positions",
        "self.out_proj(heads.transpose(1, 2).flatten(2))", "self.out_proj(heads.reshape(x.shape))"),
    "no_positions": Fault("model", "the positions are never added",
        "self.tok_emb(in_idx) + self.pos_emb(positions)", "self.tok_emb(in_idx)"),
    "no_norm": Fault("model", "the LayerNorms of the blocks are left out",
        "self.att(self.norm1(x), layer_cache)", "self.att(x, layer_cache)",
        "self.ff(self.norm2(x))", "self.ff(x)"),
    "no_residual": Fault("model", "the attention branch replaces the residual stream, instead of being added to it",
        "x = x + self.drop(self.att(", "x = self.drop(self.att("),
    "one_block_twice": Fault("model", "the list holds the same block several times, so its weights are shared",
        '[TransformerBlock(cfg) for _ in range(cfg["n_layers"])]', '[TransformerBlock(cfg)] * cfg["n_layers"]'),
    "head_tied": Fault("model", "the head shares the weights of the embedding, which are far too large for it",
        MODEL, MODEL + "        self.model.out_head.weight = self.model.tok_emb.weight\n"),
    "weights_too_large": Fault("model", "the weights begin ten times too large",
        MODEL, MODEL + "        for weight in self.model.parameters():\n            weight.data *= 10\n"),
    "weights_zero": Fault("model", "all weights begin at 0",
        MODEL, MODEL + "        for weight in self.model.parameters():\n            nn.init.zeros_(weight)\n"),
    "dropout_always": Fault("model", "dropout is called as a function that is not told about eval()",
        "        return self.out_head(self.final_norm(x))", "        return self.out_head(F.dropout(self.final_norm(x)))"),
    "dropout_on_logits": Fault("model", "dropout falls on the logits",
        "        return self.out_head(self.final_norm(x))", "        return self.drop_emb(self.out_head(self.final_norm(x)))"),
    "blocks_frozen": Fault("model", "the blocks are frozen, left over from a fine-tuning",
        MODEL, MODEL + "        self.model.trf_blocks.requires_grad_(False)\n"),
    "units_dead": Fault("model", "the activations of the feed-forward layers are 0 for every token",
        'F.gelu(self.fc_in(x), approximate="tanh")', "F.relu(self.fc_in(x) - 10)"),

    "softmax_twice": Fault("loss", "softmax is taken before a loss that takes it itself",
        "    return F.cross_entropy(logits.flatten(0, 1)", "    return F.cross_entropy(logits.softmax(-1).flatten(0, 1)"),
    "softmax_wrong_dimension": Fault("loss", "softmax runs over the positions instead of the vocabulary",
        "    return F.cross_entropy(logits.flatten(0, 1)", "    return F.nll_loss(logits.log_softmax(1).flatten(0, 1)"),
    "logits_scrambled": Fault("loss", "the logits are reshaped after a transpose, so that they meet other targets",
        "    return F.cross_entropy(logits.flatten(0, 1)", "    return F.cross_entropy(logits.transpose(0, 1).flatten(0, 1)"),
    "sum_for_mean": Fault("loss", "the losses of a batch are added up instead of averaged",
        "target_batch.to(device).flatten())", 'target_batch.to(device).flatten(), reduction="sum")'),
    "padding_zero": Fault("loss", "padding counts as a token with loss 0",
        "target_batch.to(device).flatten())", 'target_batch.to(device).flatten(), reduction="none").mean()'),

    "no_zero_grad": Fault("step", "gradients are never set back to zero",
        "        self.optimizer.zero_grad()\n", ""),
    "step_before_backward": Fault("step", "the optimizer steps before there are gradients",
        "        loss.backward()\n", "", STEPPED, STEPPED + "        loss.backward()\n"),
    "another_models_optimizer": Fault("step", "the optimizer holds the weights of another model",
        "torch.optim.AdamW(self.model.parameters()", "torch.optim.AdamW(GPTModel(CONFIG).parameters()"),
    "only_the_head": Fault("step", "the optimizer was given only the head",
        "torch.optim.AdamW(self.model.parameters()", "torch.optim.AdamW(self.model.out_head.parameters()"),
    "sign_flipped": Fault("step", "the gradient's sign is flipped, so that the loss is climbed",
        "        loss.backward()", "        (-loss).backward()"),
    "rate_too_large": Fault("step", "the learning rate is 100 times too large",
        "OneCycleLR(self.optimizer, LEARNING_RATE,", "OneCycleLR(self.optimizer, 100 * LEARNING_RATE,"),
    "rate_too_small": Fault("step", "the learning rate is 100 times too small",
        "OneCycleLR(self.optimizer, LEARNING_RATE,", "OneCycleLR(self.optimizer, LEARNING_RATE / 100,"),
    "no_schedule": Fault("step", "the learning rate is at its highest from the first step to the last",
        "OneCycleLR(self.optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1, cycle_momentum=False)",
        "torch.optim.lr_scheduler.ConstantLR(self.optimizer, factor=1)"),
    "schedule_never_stepped": Fault("step", "the schedule is made and never stepped: the rate stays where its warm-up begins",
        STEPPED, ""),
    "schedule_too_short": Fault("step", "the schedule was made for half of the steps, and the rest gets a rate of almost 0",
        "total_steps=STEPS,", "total_steps=STEPS // 2,",
        STEPPED, "        if self.scheduler.last_epoch < STEPS // 2 - 1:\n    " + STEPPED),
    "decay_too_strong": Fault("step", "weight decay is 100 times too strong",
        "weight_decay=0.1", "weight_decay=10"),
    "clipped_too_hard": Fault("step", "gradients are clipped to a thousandth of their norm",
        "max_norm=1.0", "max_norm=1e-3"),
    "eps_too_large": Fault("step", "AdamW's eps is larger than the gradients",
        "weight_decay=0.1)", "weight_decay=0.1, eps=1e-1)"),

    "evaluated_with_dropout": Fault("evaluation", "dropout is on while the model is evaluated",
        "        self.model.eval()\n", ""),
    "left_in_eval": Fault("evaluation", "the model stays in eval mode after the first evaluation",
        LOSS + "        self.model.train()\n", LOSS),
    "gradients_on": Fault("evaluation", "autograd keeps a graph that nobody needs",
        "with torch.no_grad():\n            " + LOSS, "with torch.enable_grad():\n            " + LOSS),
    "seed_reset": Fault("evaluation", "each evaluation sets the random seed, so that dropout and order repeat themselves",
        "        self.model.eval()\n", "        torch.manual_seed(123)\n        self.model.eval()\n"),
    "means_of_batches": Fault("evaluation", "batches are averaged, whatever their number of tokens",
        "counted = (target_batch != -100).sum().item()", "counted = 1"),
    "first_batch_only": Fault("evaluation", "the loss is that of the first validation batch alone",
        LOSS, LOSS.replace('"cpu")', '"cpu", num_batches=1)')),

    "weights_bfloat16": Fault("arithmetic", "the weights themselves are kept in bfloat16",
        MODEL, "        self.model = GPTModel(CONFIG).bfloat16()\n"),
    "weights_float16": Fault("arithmetic", "the weights themselves are kept in float16, in which AdamW's eps of 1e-8 is 0",
        MODEL, "        self.model = GPTModel(CONFIG).half()\n"),
}

PATIENTS = dict(zip("ABCDEF", ("no_mask", "padding_counted", "softmax_twice", "no_zero_grad", "schedule_too_short",
                               "evaluated_with_dropout"), strict=True))      # the cases of lesson 09


def program(*names: str) -> str:
    """The text of the healthy program with these faults in it. Raises ValueError for an unknown name."""
    text = HEALTHY
    for name in names:
        require_known("fault", name, FAULTS)
        for old, new in FAULTS[name].changes:
            assert text.count(old) == 1, f"{name}: {text.count(old)} times in the program: {old}"
            text = text.replace(old, new)
    return text


def diff(name: str) -> str:
    """The lines that a fault, or that of a patient, changes: those with a minus are sound, those with a plus are not."""
    lines = difflib.unified_diff(HEALTHY.splitlines(), program(PATIENTS.get(name, name)).splitlines(), n=0, lineterm="")
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def training(*names: str, seed: int = 1) -> Any:
    """A new `healthy.Training` of this seed, with these faults in it."""
    namespace = {**vars(words), **vars(model), **vars(loss), **vars(healthy)}
    text, name = program(*names), f"<{' and '.join(names) or 'healthy'}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)      # for tracebacks
    exec(compile(text, name, "exec"), namespace)
    return namespace["Training"](seed)


def patient(letter: str, seed: int = 5) -> Any:
    """A new training run with the fault of one of the lesson's cases, A to F, in it."""
    require_known("patient", letter, PATIENTS)
    return training(PATIENTS[letter], seed=seed)
