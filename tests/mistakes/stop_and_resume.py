"""Lesson 06: answers, right and wrong, that are written anew; the mistakes of its tables are answers of their own."""
import contextlib
import copy
import io
import math
import os
import random
import shutil
import tempfile
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import numpy as np
import torch

from gpt_checks.stop_and_resume import (
    check_batches_left,
    check_diverged,
    check_is_due,
    check_snapshot,
    check_undisturbed,
    check_write_beside,
)
from mistakes import right, wrong


# 6.1 a look that leaves no trace
@right(check_undisturbed)
@torch.no_grad()
def undisturbed_by_hand(look, model):
    before, state = model.training, torch.random.get_rng_state()
    model.eval()
    try:
        return look()
    finally:
        torch.random.set_rng_state(state)
        model.train() if before else model.eval()


@right(check_undisturbed)
def undisturbed_with_an_except(look, model):
    mode = model.training
    with torch.random.fork_rng(), torch.inference_mode():
        try:
            value = look() if not model.eval().training else None
        except BaseException:
            model.train(mode)
            raise
    model.train(mode)
    return value


@wrong(check_undisturbed, "where look() stops with an error, the mode is not put back")
def undisturbed_without_finally(look, model):
    before = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        seen = look()
    model.train(before)
    return seen


@wrong(check_undisturbed, "torch.no_grad() is missing", "; and", "the random state has moved")
def undisturbed_in_mode_alone(look, model):
    mode = model.training
    try:
        model.eval()
        return look()
    finally:
        model.train(mode)


@wrong(check_undisturbed, "what happens to look is 'called 2 times'")
def undisturbed_tried_first(look, model):
    with contextlib.suppress(OSError), torch.random.fork_rng():
        look()
    return undisturbed_by_hand(look, model)


wrong(check_undisturbed, "the random state, afterwards,")(
    lambda look, model: (undisturbed_by_hand(look, model), torch.manual_seed(0))[0])
wrong(check_undisturbed, "what it gives is not returned")(lambda *args: [undisturbed_by_hand(*args)].clear())
wrong(check_undisturbed, "whatever it is given")(lambda look, model: 3.0)


# 6.2 what must be kept
def a_snapshot(take=copy.deepcopy, random=torch.get_rng_state, **more):
    def snapshot(model, optimizer, step):
        return {"model": take(model.state_dict()), "optimizer": take(optimizer.state_dict()),
                "random": random(), "step": step} | more
    return snapshot


def by_a_file(part):
    buffer = io.BytesIO()
    torch.save(part, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@right(check_snapshot)
def snapshot_by_clones(model, optimizer, step):
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return dict(step=step, random=torch.random.get_rng_state().clone(), model=weights,
                optimizer=by_a_file(optimizer.state_dict()))


right(check_snapshot)(a_snapshot(take=by_a_file))
wrong(check_snapshot, "weights and moments changed in what you kept")(a_snapshot(take=copy.copy))
wrong(check_snapshot, "the dict is 'one with the keys epoch, model, optimizer, random, step'")(a_snapshot(epoch=2))
wrong(check_snapshot, "the step is None")(a_snapshot(step=None))
wrong(check_snapshot, "what is kept of the random state, is")(a_snapshot(random=lambda: random.getstate()))
wrong(check_snapshot, "without the settings")(
    lambda model, optimizer, step: a_snapshot()(model, optimizer, step) | {"optimizer": copy.deepcopy(dict(optimizer.state))})
wrong(check_snapshot, "the dict is 'a tuple'")(lambda *args: tuple(a_snapshot()(*args).values()))
wrong(check_snapshot, "the training's gradients were changed")(
    lambda model, optimizer, step: (optimizer.zero_grad(), a_snapshot()(model, optimizer, step))[1])
wrong(check_snapshot, "left in eval() mode")(lambda model, *more: a_snapshot()(model.eval(), *more))
wrong(check_snapshot, "as of that moment, with the keys ['weight'] alone")(
    lambda model, *more: a_snapshot()(model, *more) | {"model": {"weight": model.weight.detach().clone()}})
wrong(check_snapshot, "as of neither that moment nor now, with the keys")(
    lambda model, *more: a_snapshot()(model, *more) | {"model": {name: p.grad for name, p in model.named_parameters()}})


# 6.3 where were we?
@right(check_batches_left)
def batches_left_one_by_one(n_batches, steps, seed):
    epoch = 0
    while steps >= n_batches:
        steps, epoch = steps - n_batches, epoch + 1
    order = iter(torch.randperm(n_batches, generator=torch.Generator().manual_seed(seed + epoch)))
    for _ in range(steps):
        next(order)
    return [int(i) for i in order]


@right(check_batches_left)
def batches_left_with_the_global_state_put_back(n_batches, steps, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed + steps // n_batches)
        return torch.randperm(n_batches)[steps % n_batches:].tolist()


wrong(check_batches_left, "came as a Tensor")(lambda n, steps, seed: torch.randperm(
    n, generator=torch.Generator().manual_seed(seed + steps // n))[steps % n :])


@wrong(check_batches_left, "was not given the generator")
def batches_left_without_the_generator(n_batches, steps, seed):
    g = torch.Generator().manual_seed(seed + steps // n_batches)  # noqa: F841
    return torch.randperm(n_batches).tolist()[steps % n_batches:]


@wrong(check_batches_left, "the list of batches")
def batches_left_of_pythons_shuffle(n_batches, steps, seed):
    order = list(range(n_batches))
    random.Random(seed + steps // n_batches).shuffle(order)
    return order[steps % n_batches:]


wrong(check_batches_left, "every epoch got the order of the first")(
    lambda n, steps, seed: torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()[steps % n:])
wrong(check_batches_left, "use a torch.Generator of your own")(
    lambda n, steps, seed: (torch.manual_seed(seed + steps // n), [*torch.randperm(n)][steps % n:])[1])
wrong(check_batches_left, "the list of batches has", "need")(lambda *args: batches_left_one_by_one(*args)[1:-1])
wrong(check_batches_left, "the end of an epoch: at the end of an epoch nothing is left")(
    lambda n, steps, seed: batches_left_one_by_one(n, steps, seed) if steps % n or not steps else [])
wrong(check_batches_left, "that is how many are left")(lambda n, steps, seed: n - steps % n)


# 6.4 is it due?
right(check_is_due)(lambda step, n, f, done: step in {*range(0, n, f), n - 1} - {*done})
right(check_is_due)(lambda step, n, f, done: np.logical_and(step % f == 0 or step == n - 1, step not in done))


@right(check_is_due)
def is_due_line_by_line(step, num_steps, eval_freq, evaluated):
    if evaluated and step <= max(evaluated):
        return False
    if step + 1 == num_steps:
        return True
    return not step % eval_freq


wrong(check_is_due, "the last step is not evaluated")(lambda step, n, f, done: step not in done and not step % f)
wrong(check_is_due, "for step 0, 0 came back; need True or False")(lambda step, n, f, done: step % f)
wrong(check_is_due, "and is made longer: that counts from the last evaluation")(
    lambda step, n, f, done: step not in done and (step == n - 1 or not done or step - max(done) >= f))
wrong(check_is_due, "goes back to an older file: only the last step")(
    lambda step, n, f, done: (step % f == 0 or step == n - 1) and done[-1:] != [step])
wrong(check_is_due, "the last one, too")(lambda step, n, f, done: step not in done and not step % f and step == n - 1)
wrong(check_is_due, "how many evaluations there were does not say which")(
    lambda step, n, f, done: (step % f == 0 and step >= len(done) * f) or (step == n - 1 and len(done) * f <= step))
wrong(check_is_due, "None came back")(lambda step, n, f, done: True if step % f == 0 else None)
wrong(check_is_due, "how many evaluations there were does not say which")(lambda step, n, f, done: len(done) * f <= step)
wrong(check_is_due, "stopped with IndexError")(lambda step, n, f, done: step - done[-1] >= f or step == n - 1)


# 6.5 gone wrong
@right(check_diverged)
def diverged_by_rows(losses, vocab_size, patience):
    even, i, learned = math.log(vocab_size), 0, False
    for bad, row in groupby(losses, lambda loss: None if loss - loss != 0 else loss > even):
        n = len(list(row))
        if bad is None:
            return i
        if bad and learned and n >= patience:
            return i + patience - 1
        learned, i = learned or not bad, i + n
    return None


@right(check_diverged)
def diverged_by_slices(losses, vocab_size, patience):
    for i, loss in enumerate(losses):
        last = losses[max(i - patience + 1, 0): i + 1]
        before = losses[: i - patience + 1] if i >= patience else []
        if not math.isfinite(loss) or (min(before, default=math.inf) < math.log(vocab_size) < min(last)):
            return i


@wrong(check_diverged, "an untrained model starts above ln V")
def diverged_from_the_start(losses, vocab_size, patience):
    bad = 0
    for i, loss in enumerate(losses):
        bad = bad + 1 if loss > math.log(vocab_size) else 0
        if bad == patience or not math.isfinite(loss):
            return i


@wrong(check_diverged, "two bad losses: ", "gives 1, and 2 is right")
def diverged_by_means(losses, vocab_size, patience):
    learned = False
    for i, loss in enumerate(losses):
        learned = learned or loss < math.log(vocab_size)
        mean = sum(losses[max(i - patience + 1, 0): i + 1]) / patience
        if not math.isfinite(loss) or (learned and i + 1 >= patience and mean > math.log(vocab_size)):
            return i


@wrong(check_diverged, "nan before anything is learned", "wherever it stands")
def diverged_after_a_loss_below(losses, vocab_size, patience):
    first = next((i for i, loss in enumerate(losses) if loss < math.log(vocab_size)), 0)
    i = diverged_by_rows(losses[first:], vocab_size, patience)
    return None if i is None else first + i


@wrong(check_diverged, "gives None, and ")
def diverged_where_losses_rise(losses, vocab_size, patience):
    rises = list(accumulate((b > a for a, b in pairwise(losses)), lambda n, up: n + 1 if up else 0))
    return rises.index(patience) + 1 if patience in rises else None


wrong(check_diverged, ", of type str; need ")(lambda *args: str(diverged_by_slices(*args)))
wrong(check_diverged, ", of type float; need ")(lambda *args: float(i) if (i := diverged_by_slices(*args)) else None)


# 6.6 never half a file
@right(check_write_beside)
def write_beside_in_a_temporary_file(path, write):
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        write(Path(name))
    except BaseException:
        os.remove(name)
        raise
    Path(name).replace(path)


@right(check_write_beside)
def write_beside_in_a_folder_of_its_own_name(path, write):
    beside = str(path) + "~"
    try:
        write(beside)
        os.rename(beside, path) if os.name != "nt" else os.replace(beside, path)
    finally:
        if os.path.exists(beside):
            os.unlink(beside)


@wrong(check_write_beside, "what is at the path afterwards, is 'the old file'")
def write_what_is_larger(path, write):
    beside = path.with_suffix(".tmp")
    try:
        write(beside)
        if not path.exists() or beside.stat().st_size >= path.stat().st_size:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


wrong(check_write_beside, "writes in the old file's place")(lambda path, write: write(path))
wrong(check_write_beside, "the number of calls of write is 0")(lambda path, write: path.touch())
wrong(check_write_beside, "half a file stays behind")(
    lambda path, write: (write(path.with_suffix(".tmp")), path.with_suffix(".tmp").replace(path)))


@wrong(check_write_beside, "is copied into the old one's place")
def write_and_copy(path, write):
    beside = path.with_suffix(".tmp")
    try:
        write(beside)
        shutil.copy(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@wrong(check_write_beside, "the new file is written in another folder")
def write_anywhere(path, write):
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
        write(Path(folder, "new"))
        os.replace(Path(folder, "new"), path)
