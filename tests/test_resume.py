"""The loop for real work: evaluation leaves no trace, a stop loses nothing, and what goes on ends at the same bits."""
import errno
import itertools
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from small import CFG, STEPS, Watch, moments, quiet, training, weights, with_parts

from gpt_helpers.checkpoint import describe_data, read_checkpoint, save_checkpoint
from gpt_helpers.data import create_dataloader
from gpt_helpers.model import GPTModel
from gpt_helpers.progress import Samples
from gpt_helpers.random_state import isolated, random_state, set_random_state
from gpt_helpers.state import deferred_interrupts
from gpt_helpers.train import train_model
from gpt_helpers.weights import load_weights, save_weights, stored_loss


@pytest.fixture(scope="module")
def whole():
    """A training of two epochs that nothing stops, and its History."""
    threads = torch.get_num_threads()
    parts = training()
    history = quiet(train_model, *parts)
    torch.set_num_threads(threads)
    assert len(parts[1]) * 2 == STEPS and len(history.tokens_seen) == 6
    return parts, history


def assert_same(parts, history, whole):
    assert torch.equal(weights(parts), weights(whole[0]))
    assert torch.equal(moments(parts), moments(whole[0]))
    assert history == whole[1]


def test_evaluating_more_often_changes_no_bit(whole):
    for eval_freq in (1, 50):
        parts = training()
        parts[6] = eval_freq
        history = quiet(train_model, *parts)
        assert torch.equal(weights(parts), weights(whole[0]))
        assert len(history.tokens_seen) == {1: STEPS + 1, 50: 3}[eval_freq]


def test_it_evaluates_before_the_first_update_and_after_the_last(whole):
    history = whole[1]
    per_step = 4 * 8
    assert history.tokens_seen[:3] == [0, per_step, 4 * per_step]
    assert history.tokens_seen[-1] == sum(x.numel() for x, _ in training()[1]) * 2
    assert abs(history.val_losses[0] - (math.log(60) + 1 / 6)) < 0.3


def quick_and_slow(places, quick):
    """Some places are tried in the quick loop, all of them in the full run."""
    return [place if place in quick else pytest.param(*place, marks=pytest.mark.slow) for place in places]


@pytest.mark.parametrize(("stop",), quick_and_slow([(stop,) for stop in range(STEPS + 1)], [(1,), (6,), (7,), (8,)]))
def test_a_training_stopped_after_any_step_ends_at_the_same_bits(whole, stop, tmp_path):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=stop)
    parts = training()
    torch.manual_seed(stop), random.seed(stop)      # what has happened since does not matter
    history = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert_same(parts, history, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


class Counting(torch.optim.SGD):
    """Holds a number that belongs to no weight, as optimizers that people write do."""

    def step(self, closure=None):
        super().step(closure)
        self.state["steps"] = self.state.get("steps", 0) + 1


@pytest.mark.parametrize("kind", [torch.optim.Adafactor, torch.optim.Adagrad, Counting])
def test_whatever_an_optimizer_holds_a_training_goes_on_with_the_same_bits(kind, tmp_path):
    def begun():
        parts = training()
        return with_parts(parts, optimizer=kind(parts[0].parameters(), lr=1e-2))

    uninterrupted, parts = begun(), begun()
    history = quiet(train_model, *uninterrupted)
    quiet(train_model, *begun(), checkpoint_path=tmp_path / "run.pt", max_steps=5)
    assert quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True) == history
    assert torch.equal(weights(parts), weights(uninterrupted))
    if kind is Counting:
        assert parts[3].state["steps"] == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 6, 8])
def test_it_goes_on_in_a_new_process(whole, stop, tmp_path):
    code = (f"from test_resume import *; parts = training(); "
            f"train_model(*parts, checkpoint_path={str(tmp_path / 'run.pt')!r}, resume=True, max_steps=int(sys.argv[1]))")
    for steps in (stop, STEPS):
        subprocess.run([sys.executable, "-c", f"import torch; torch.set_num_threads(1); {code}", str(steps)],
                       check=True, cwd=os.path.dirname(__file__), capture_output=True)
    parts = training()
    history = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert_same(parts, history, whole)


def test_after_an_error_of_any_kind_the_updates_before_it_are_saved(whole, tmp_path):
    def on_step(step, loss):
        if step == 6:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", callbacks=[Watch(on_step=on_step)])
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 7
    parts = training()
    history = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert_same(parts, history, whole)


def test_after_an_error_in_the_midst_of_a_step_nothing_is_saved_for_its_weights_are_half_moved(tmp_path):
    parts, steps = training(), itertools.count()

    def half_a_step():
        next(iter(parts[0].parameters())).data.add_(1)
        if next(steps) == 6:
            raise RuntimeError("out of memory")

    parts[3].step = half_a_step
    with pytest.raises(RuntimeError, match="out of memory"):
        quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", checkpoint_freq=4)
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 4


def assert_evaluations_and_a_stop_change_nothing(seeded, tmp_path):
    """seeded(seed): what train_model takes, with a loader whose own generators have this seed."""
    straight = seeded(3)
    history = quiet(train_model, *straight)
    often = with_parts(seeded(3), eval_freq=1)      # evaluation leaves no trace
    quiet(train_model, *often)
    assert torch.equal(weights(often), weights(straight))
    quiet(train_model, *seeded(3), checkpoint_path=tmp_path / "run.pt", max_steps=8)
    parts = seeded(77)
    assert quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True) == history
    assert torch.equal(weights(parts), weights(straight))


@pytest.mark.parametrize("held_by", ["the loader", "the sampler of its batch_sampler", "the loader and its sampler"])
def test_a_loader_with_its_own_generator_goes_on_too(held_by, tmp_path):
    def seeded(seed):
        generator = torch.Generator().manual_seed(seed)
        parts = training(generator=generator)
        if held_by == "the loader and its sampler":
            sampler = torch.utils.data.RandomSampler(parts[1].dataset, generator=torch.Generator().manual_seed(seed + 1))
            parts[1] = torch.utils.data.DataLoader(parts[1].dataset, batch_size=4, sampler=sampler, generator=generator)
        elif held_by != "the loader":
            sampler = torch.utils.data.RandomSampler(parts[1].dataset, generator=generator)
            batches = torch.utils.data.BatchSampler(sampler, batch_size=4, drop_last=False)
            parts[1] = torch.utils.data.DataLoader(parts[1].dataset, batch_sampler=batches)
        return parts

    assert_evaluations_and_a_stop_change_nothing(seeded, tmp_path)


class Drawn(torch.utils.data.Dataset):
    """Windows from anywhere in the text, in an order of their own: it is a dataset, and the sampler of itself."""

    def __init__(self, ids, seed, kind):
        self.ids, self.kind = ids, kind
        self.rng = {"python": random.Random, "numpy": numpy.random.default_rng, "old numpy": numpy.random.RandomState,
                    "Philox": lambda seed: numpy.random.Generator(numpy.random.Philox(seed))}[kind](seed)

    def __len__(self):
        return 22

    def __iter__(self):
        return iter([self.place() for _ in range(22)])

    def __getitem__(self, i):
        start = i + self.place()
        return self.ids[start : start + 8], self.ids[start + 1 : start + 9]

    def place(self):
        return int(self.rng.random() * 22 if self.kind != "old numpy" else self.rng.randint(22))


@pytest.mark.parametrize(("kind", "place"), [("python", "sampler"), ("python", "dataset"), ("numpy", "part of a dataset"),
                                             ("numpy", "batch sampler"), ("old numpy", "dataset"), ("Philox", "sampler")])
def test_a_generator_of_any_kind_in_the_dataset_or_sampler_goes_on_too(kind, place, tmp_path):
    def seeded(seed):
        parts = training()
        drawn = Drawn(parts[1].dataset.ids, seed, kind)
        windows, part = parts[1].dataset, torch.utils.data.Subset(drawn, range(22))
        loader = {"sampler": lambda load: load(windows, 4, sampler=drawn), "dataset": lambda load: load(drawn, 4),
                  "batch sampler": lambda load: load(windows, batch_sampler=torch.utils.data.BatchSampler(drawn, 4, False)),
                  "part of a dataset": lambda load: load(part, 4)}[place](torch.utils.data.DataLoader)
        return with_parts(parts, train_loader=loader)

    assert_evaluations_and_a_stop_change_nothing(seeded, tmp_path)


def test_more_epochs_can_be_added_later(tmp_path):
    straight = training(epochs=3)
    history = quiet(train_model, *straight)
    quiet(train_model, *training(epochs=1), checkpoint_path=tmp_path / "run.pt")
    parts = training(epochs=3)
    assert quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True) == history
    assert torch.equal(weights(parts), weights(straight))


def test_samples_of_before_the_stop_are_told_again(tmp_path):
    whole, resumed = Samples(), Samples()
    quiet(train_model, *training(), callbacks=[whole])
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=8)
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", resume=True, callbacks=[resumed])
    assert whole.texts == resumed.texts and list(whole.texts) == [1, 2]


def test_a_finished_training_that_is_resumed_only_evaluates(whole, tmp_path):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt")
    parts, steps = training(), []
    history = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True,
                    callbacks=[Watch(on_step=lambda *_: steps.append(1))])
    assert_same(parts, history, whole)
    assert steps == []


@pytest.mark.parametrize(("limits", "steps"), [({"max_steps": 5}, 5), ({}, STEPS)])
def test_it_stops_at_a_number_of_steps(limits, steps):
    seen = []
    quiet(train_model, *training(), **limits, callbacks=[Watch(on_step=lambda step, loss: seen.append(step))])
    assert seen == list(range(steps))


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_lowest_validation_loss(tmp_path):
    parts = training(epochs=6)
    parts[3] = torch.optim.AdamW(parts[0].parameters(), lr=0.1)
    history, seen = quiet(train_model, *parts, best_path=tmp_path / "best.safetensors"), []
    best = load_weights(tmp_path / "best.safetensors")
    assert not best.training and not torch.equal(weights([best]), weights(parts))
    again = training(epochs=6)
    again[3] = torch.optim.AdamW(again[0].parameters(), lr=0.1)
    quiet(train_model, *again, callbacks=[Watch(on_eval=lambda history: seen.append(weights(again)))])
    assert torch.equal(weights([best]), seen[history.val_losses.index(min(history.val_losses))])


# The stop button.

def interrupted_at(where, nth):
    """(arguments, keyword arguments) of a training in which the nth call of a part is interrupted."""
    parts, calls = training(), iter(range(1, 1000))

    def interrupt(*_):
        if next(calls) == nth:
            raise KeyboardInterrupt

    model, optimizer = parts[0], parts[3]
    if where == "forward":
        model.register_forward_pre_hook(interrupt)
    if where == "inside forward":
        model.trf_blocks[0].ff.register_forward_hook(interrupt)
    if where == "backward":
        model.tok_emb.weight.register_hook(interrupt)
    if where == "step":
        optimizer.register_step_pre_hook(interrupt)
    if where == "progress":
        return parts, {"callbacks": [Watch(on_step=interrupt)]}
    if where == "sample":
        return parts, {"callbacks": [Watch(on_sample=interrupt)]}
    if where == "evaluated":
        return parts, {"callbacks": [Watch(on_eval=interrupt)]}
    return parts, {}


PLACES = [("forward", 1), ("forward", 2), ("forward", 3), ("forward", 17), ("forward", 40), ("inside forward", 5),
          ("inside forward", 60), ("backward", 1), ("backward", 8), ("step", 1), ("step", 9), ("progress", 4), ("sample", 1),
          ("evaluated", 1), ("evaluated", 2), ("evaluated", 3)]


QUICK = [("forward", 2), ("inside forward", 60), ("backward", 8), ("step", 9), ("progress", 4), ("sample", 1), ("evaluated", 2)]


@pytest.mark.parametrize(("where", "nth"), quick_and_slow(PLACES, QUICK))
def test_the_stop_button_saves_the_last_whole_step_and_the_rest_follows_with_the_same_bits(whole, where, nth, tmp_path, capsys):
    parts, extras = interrupted_at(where, nth)
    stopped = train_model(*parts, checkpoint_path=tmp_path / "run.pt", **extras)
    assert [row == full[: len(row)] for row, full in zip(stopped, whole[1], strict=True)] == [True] * 3
    assert "Stopped at step" in capsys.readouterr().out.splitlines()[-1]
    assert all(module.training for module in parts[0].modules())
    parts = training()
    history = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert_same(parts, history, whole)


@pytest.mark.parametrize(("where", "nth"), [("forward", 17), ("step", 9), ("sample", 1), ("evaluated", 1), ("evaluated", 3)])
def test_also_when_evaluation_draws_from_the_trainings_random_numbers(where, nth, tmp_path):
    straight = training()
    history = quiet(train_model, *straight, share_rng=True, eval_ends=False)
    parts, extras = interrupted_at(where, nth)
    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", share_rng=True, eval_ends=False, **extras)
    parts = training()
    again = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True, share_rng=True, eval_ends=False)
    assert_same(parts, again, (straight, history))


@pytest.fixture
def ctrl_c():
    """SIGINT as in a terminal or a kernel; a shell starts what runs in its background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_ctrl_c_during_an_update_waits_until_it_is_whole(whole, ctrl_c, tmp_path):
    parts = training()
    count = iter(range(100))

    def press(*_):
        if next(count) == 4:
            os.kill(os.getpid(), signal.SIGINT)

    parts[3].register_step_pre_hook(press)
    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt")
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    parts = training()
    assert_same(parts, quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True), whole)


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="needs POSIX signals")
@pytest.mark.parametrize("moment", ["in the update", "in the save"])
def test_a_workers_death_waits_as_well(whole, moment, tmp_path, monkeypatch):
    """PyTorch's handler of SIGCHLD raises it wherever the program happens to be."""
    def died(*_):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    def die(*_):
        signal.raise_signal(signal.SIGCHLD)

    def die_in_step_4(*_):
        if len(parts[3].state) and next(iter(parts[3].state.values()))["step"] == 4:
            die()

    def fail(step, loss):
        if step == 4:
            real = torch.save
            monkeypatch.setattr(torch, "save", lambda *args: [die(), real(*args)])
            raise ConnectionResetError("by peer")

    parts = training()
    if moment == "in the update":
        parts[3].register_step_pre_hook(die_in_step_4)
    before = signal.signal(signal.SIGCHLD, died)
    with pytest.raises(RuntimeError, match="killed by signal"):
        quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt",
              callbacks=[Watch(on_step=fail)] if moment == "in the save" else [])
    signal.signal(signal.SIGCHLD, before)
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 5
    parts = training()
    assert_same(parts, quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True), whole)


def test_an_uninterrupted_piece_of_work_is_done_before_the_interrupt_arrives(ctrl_c):
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]


# What must not happen to a file that is there.

def test_a_training_that_is_there_is_not_overwritten(tmp_path):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=1)
    before = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(FileExistsError, match="resume=True"):
        train_model(*training(), checkpoint_path=tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before


@pytest.mark.parametrize("options", [{"resume": True}, {"checkpoint_freq": 5}])
def test_what_is_to_be_saved_needs_a_file(options):
    with pytest.raises(ValueError, match="checkpoint_path"):
        train_model(*training(), **options)


@pytest.mark.parametrize("freq", [0, -1, 1.5, True])
def test_how_often_it_is_saved_is_an_integer(freq, tmp_path):
    with pytest.raises(ValueError, match="checkpoint_freq"):
        train_model(*training(), checkpoint_path=tmp_path / "run.pt", checkpoint_freq=freq)


def test_best_weights_that_cannot_be_written_do_not_end_a_training(whole, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError("w could not be written (No space left on device)")

    monkeypatch.setattr("gpt_helpers.train.save_weights", full)
    parts = training()
    history = train_model(*parts, checkpoint_path=tmp_path / "run.pt", best_path=tmp_path / "best.safetensors")
    assert_same(parts, history, whole)
    assert "Not saved: w could not be written" in capsys.readouterr().out


def test_the_best_weights_are_the_best_that_could_be_saved_and_stay_so_when_a_run_is_extended(tmp_path, monkeypatch):
    """They are compared with what their file holds: not with losses whose weights were not saved, or are in no checkpoint."""
    losses, calls = iter([9.0, 5.0, 7.0, 8.0, 4.0]), itertools.count()

    def save(*args, **kwargs):
        if next(calls) == 1:
            raise OSError("w could not be written (No space left on device)")
        save_weights(*args, **kwargs)

    monkeypatch.setattr("gpt_helpers.train.evaluate_model", lambda *args: (1.0, next(losses)))
    monkeypatch.setattr("gpt_helpers.train.save_weights", save)
    paths, parts = {"checkpoint_path": tmp_path / "run.pt", "best_path": tmp_path / "best.safetensors"}, training()
    parts[6] = 10
    quiet(train_model, *parts, **paths, max_steps=11)      # evaluated before step 0, after steps 0 and 10
    assert stored_loss(paths["best_path"]) == 7.0
    extended = training()
    extended[6] = 10
    losses = iter([8.0, 8.5, 7.5, 7.6])
    quiet(train_model, *extended, **paths, resume=True)
    assert stored_loss(paths["best_path"]) == 7.0
    losses = iter([9.0] * 9)
    quiet(train_model, *training(), **paths | {"checkpoint_path": tmp_path / "new.pt"})
    assert stored_loss(paths["best_path"]) == 9.0          # another run's best is not this one's
    files = [tmp_path / f"{n}.safetensors" for n in range(8)]
    for file in files:
        save_weights(file, parts[0], val_loss=7.0)
    assert len({file.read_bytes() for file in files}) == 1 and stored_loss(tmp_path / "run.pt") == math.inf


@pytest.mark.parametrize("option", ["checkpoint_path", "best_path"])
@pytest.mark.parametrize(("place", "words"), [("missing/run.pt", "there is no folder '.*missing' for run.pt: make it first"),
                                              ("file/run.pt", "there is no folder '.*file'"), (".", "is a folder: name a file"),
                                              ("link.pt", "there is no folder '.*unmounted' for run.pt: make it first")])
def test_a_place_where_nothing_can_be_saved_is_noticed_before_the_first_step(option, place, words, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link.pt").symlink_to(tmp_path / "unmounted" / "run.pt")
    parts = training()
    before = weights(parts)
    with pytest.raises(OSError, match=words) as caught:
        train_model(*parts, **{option: tmp_path / place})
    assert torch.equal(weights(parts), before) and "\n" not in str(caught.value)


def test_a_checkpoint_that_train_model_has_not_written_is_refused_before_anything_changes(tmp_path):
    parts = training()
    save_checkpoint(tmp_path / "run.pt", parts[0], parts[3], {"step": 3}, data=describe_data(parts[1]))
    parts = training()
    with torch.no_grad():
        parts[0].out_head.weight.add_(1)
    before = weights(parts)
    with pytest.raises(ValueError, match=r"run\.pt does not fit: it does not say how far training had come: give a"):
        train_model(*parts, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert torch.equal(weights(parts), before)


def test_a_full_disk_stops_neither_the_training_nor_spoils_the_file(whole, tmp_path, monkeypatch, capsys):
    save, saved = torch.save, []

    def save_until_the_disk_is_full(content, path):
        saved.append(path)
        if sum(isinstance(path, Path) for path in saved) > 1:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(content, path)

    monkeypatch.setattr(torch, "save", save_until_the_disk_is_full)
    parts = training()
    history = train_model(*parts, checkpoint_path=tmp_path / "run.pt", checkpoint_freq=4)
    assert_same(parts, history, whole)
    assert "Not saved: run.pt could not be written (No space left on device)" in capsys.readouterr().out
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_ruined_training_is_not_saved(tmp_path, capsys):
    """The loss of the step that ruins the weights is still a number; the file keeps the weights before it."""
    parts = training()

    def ruin(step, loss):
        if step == 5:
            with torch.no_grad():
                parts[0].out_head.weight[0, 0] = math.nan

    history = train_model(*parts, checkpoint_path=tmp_path / "run.pt", checkpoint_freq=1, callbacks=[Watch(on_step=ruin)])
    lines = capsys.readouterr().out
    assert "Not saved: the weights out_head.weight hold nan" in lines and "Stopped at step 6: the training loss is nan" in lines
    assert len(history.tokens_seen) == 3
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 5


def test_a_checkpoint_of_another_text_is_refused_before_anything_changes(tmp_path):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=1)
    parts = training()
    ids = parts[1].dataset.ids.clone()
    ids[7] += 1
    parts[1] = create_dataloader(ids, 4, 8, shuffle=True)
    before = weights(parts)
    with pytest.raises(ValueError, match=r"run\.pt was made with other training data \(sha256 was"):
        train_model(*parts, checkpoint_path=tmp_path / "run.pt", resume=True)
    assert torch.equal(weights(parts), before) and parts[3].state_dict()["state"] == {}


def spoiled(path, change):
    saved = read_checkpoint(path)
    change(saved["training"])
    torch.save(saved, path)


def refused_unchanged(path, words, parts):
    """Resuming is refused in one line; weights, optimizer and random state are as before."""
    before, rng = weights(parts), torch.get_rng_state()
    with pytest.raises(ValueError, match=words) as caught:
        train_model(*parts, checkpoint_path=path, resume=True)
    assert "\n" not in str(caught.value)
    assert torch.equal(weights(parts), before) and parts[3].state_dict()["state"] == {}
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_checkpoint_from_a_machine_with_more_gpus_is_refused_before_anything_changes(tmp_path, monkeypatch):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=1)
    spoiled(tmp_path / "run.pt", lambda state: state["rng"].update(cuda=[torch.get_rng_state()] * 4))
    parts = training()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refused_unchanged(tmp_path / "run.pt", "it was written on a machine with 4 GPUs, and this one has 1", parts)
    monkeypatch.undo()      # without any GPU it goes on, on the CPU
    quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True)


@pytest.mark.parametrize("first", [True, False])
def test_a_loader_with_a_generator_and_one_without_are_told_apart_before_anything_changes(first, tmp_path):
    def parts(own):
        return training(generator=torch.Generator().manual_seed(3) if own else None)

    quiet(train_model, *parts(first), checkpoint_path=tmp_path / "run.pt", max_steps=1)
    refused_unchanged(tmp_path / "run.pt", "its loader had a generator of its own and this one has none, or the other way round",
                      parts(not first))


@pytest.mark.parametrize("change", [lambda state: state.pop("given"), lambda state: state.update(extra=1),
                                    lambda state: state.pop("rng"), lambda state: state.clear()])
def test_a_state_of_another_form_is_refused_before_anything_changes(change, tmp_path):
    quiet(train_model, *training(), checkpoint_path=tmp_path / "run.pt", max_steps=1)
    spoiled(tmp_path / "run.pt", change)
    refused_unchanged(tmp_path / "run.pt", r"run\.pt does not fit: it does not say how far training had come", training())


def test_stop_pressed_twice_is_one_stop(whole, ctrl_c, tmp_path, monkeypatch):
    """The second while the checkpoint is written: it is whole, and the records come back."""
    parts = training()
    save = torch.save

    def press_again(*args):
        signal.raise_signal(signal.SIGINT)
        save(*args)

    def press(step, loss):
        if step == 3:
            monkeypatch.setattr(torch, "save", press_again)
            raise KeyboardInterrupt

    stopped = quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", callbacks=[Watch(on_step=press)])
    assert stopped.tokens_seen == whole[1].tokens_seen[:2]
    monkeypatch.undo()
    parts = training()
    assert_same(parts, quiet(train_model, *parts, checkpoint_path=tmp_path / "run.pt", resume=True), whole)


# Random states.

def test_every_random_state_is_put_back():
    state = random_state()
    drawn = [torch.rand(3).tolist(), random.random(), numpy.random.rand()]
    set_random_state(state)
    assert [torch.rand(3).tolist(), random.random(), numpy.random.rand()] == drawn


def test_evaluation_puts_random_states_and_mode_back_even_after_an_error():
    model = GPTModel(CFG).train()
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), isolated(model):
        model.eval()
        torch.rand(1)
        raise RuntimeError
    assert model.training and torch.equal(torch.get_rng_state(), before)

