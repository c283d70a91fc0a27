"""One training on several processes is the same to the bit as on one, whatever happens to one of them."""
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import processes as runner
import pytest
import torch
from processes import BATCHES, EPOCHS, STEPS, Outcome
from small import CFG, quiet, training, with_parts

from gpt_helpers.checkpoint import read_checkpoint
from gpt_helpers.exchange import turn
from gpt_helpers.model import GPTModel
from gpt_helpers.parallel import processes, rank, ring_bytes, size, together, wrap
from gpt_helpers.random_state import random_state, set_random_state
from gpt_helpers.state import TrainState, require_state
from gpt_helpers.train import accumulate_gradients, train_model
from gpt_helpers.weights import load_weights

ENGINES = ["ddp", "fsdp"]
CASES = {
    "without dropout": {"drop_rate": 0.0},
    "dropout": {},
    "padding": {"padding": True},
    "schedule": {"schedule": True},
    "clipping": {"max_grad_norm": 0.05},
    "workers": {"num_workers": 1},
    "all": {"padding": True, "schedule": True, "max_grad_norm": 10.0, "noisy": True},
}
CHAINS = {"chain": {"padding": True, "schedule": True}, "plain": {"drop_rate": 0.0}}      # stopped runs, and their settings


def torchrun(folder, runs, program=runner.__file__, count=2):
    """Have processes of their own do these runs; what became of it, as `subprocess.run` tells."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), program,
               str(folder), json.dumps(runs)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=200, cwd=Path(runner.__file__).parent,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})


def outcomes(folder, name):
    """What a run left on each of two processes."""
    return [Outcome(*torch.load(folder / f"{name} {i}", weights_only=False)) for i in range(2)]


@contextlib.contextmanager
def group_of_one():
    """A process group of this process alone, as under `torchrun --nproc-per-node 1`."""
    surroundings = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in surroundings.items():
            patch.setenv(name, value)
        with processes():
            yield


@pytest.fixture(scope="module")
def one_thread():
    """Two threads may add in another order than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(one_thread):
    """What one process makes of each case; "plain" is without a process group."""
    with group_of_one():
        came = {name: quiet(runner.train, **case) for name, case in (CASES | {"chain": CHAINS["chain"]}).items()}
        came["four"] = quiet(runner.train, accumulate=4)
    return came | {"plain": quiet(runner.train, **CHAINS["plain"])}


@pytest.fixture(scope="module")
def two(one_thread, tmp_path_factory):
    """The folder with what two processes made of each case, with each engine."""
    folder = tmp_path_factory.mktemp("two")
    runs = {f"{engine} {name}": {"engine": engine, **case} for engine in ENGINES for name, case in CASES.items()}
    # process 1 has a micro-batch in three of an epoch's four updates, so its micro-batch 3 is in update 4, and 5 in 6
    runs |= {"four": {"accumulate": 4}, "nan": {"fault": ["nan", 1, 3]}}
    runs["stop"] = {"engine": "fsdp", "fault": ["stop", 1, 5], "checkpoint_path": str(folder / "stop.pt"),
                    "best_path": str(folder / "best.safetensors")}
    for name, (first, second, third) in {"chain": (3, 5, 7), "plain": (2, 4, 6)}.items():
        settings = CHAINS[name] | {"checkpoint_path": str(folder / f"{name}.pt"), "resume": True}
        with group_of_one() if name == "chain" else contextlib.nullcontext():
            quiet(runner.train, **settings, max_steps=first)
        runs[f"{name} in two"] = {"engine": "ddp", "seed": 5, "max_steps": second, **settings}
        runs[f"{name} in parts"] = {"engine": "fsdp", "seed": 6, "max_steps": third, **settings}
    done = torchrun(folder, runs)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


def assert_same(ours, theirs):
    assert ours.weights.keys() == theirs.weights.keys() and ours.moments.keys() == theirs.moments.keys()
    assert all(torch.equal(weight, theirs.weights[name]) for name, weight in ours.weights.items())
    assert all(torch.equal(value, theirs.moments[i][name]) for i, each in ours.moments.items() for name, value in each.items())
    assert ours.history == theirs.history and ours.losses == theirs.losses[-len(ours.losses):]


# Two processes are as one.

@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_two_processes_end_at_the_bits_of_one_that_accumulates_two_micro_batches(engine, name, two, alone):
    ours, theirs = outcomes(two, f"{engine} {name}")[0], alone[name]
    assert len(theirs.losses) == STEPS
    if (engine, name) == ("fsdp", "clipping"):      # the squares of a sharded gradient are added in another order
        torch.testing.assert_close(ours.weights, theirs.weights, rtol=0, atol=1e-5)
    else:
        assert_same(ours, theirs)


@pytest.mark.slow
def test_without_dropout_they_end_at_the_bits_of_a_process_that_knows_of_no_others(two, alone):
    for engine in ENGINES:
        assert_same(outcomes(two, f"{engine} without dropout")[0], alone["plain"])


@pytest.mark.slow
def test_the_cases_differ(alone):
    """Otherwise the tests above would prove little."""
    ends = [torch.cat([weight.flatten() for weight in came.weights.values()]) for came in alone.values()]
    assert sum(torch.equal(a, b) for a in ends for b in ends) == len(ends) + 3 * 2
    for name, twin in {"workers": "dropout", "plain": "without dropout", "all": "chain"}.items():      # "all" is noisy in vain
        assert torch.equal(*(ends[list(alone).index(each)] for each in (name, twin)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp dropout", "fsdp dropout", "four"])
def test_no_window_is_seen_twice_or_never_and_none_is_loaded_for_another_process(name, two, alone):
    came = outcomes(two, name)
    for epoch in range(EPOCHS):
        seen = [batch for each, most in zip(came, (4, 3), strict=True) for batch in each.trained_on[epoch * most:][:most]]
        assert sorted(itertools.chain(*seen)) == list(range(4 * BATCHES))
    theirs = alone[name.removeprefix("ddp ").removeprefix("fsdp ")].trained_on
    assert came[0].trained_on == theirs[:BATCHES][::2] + theirs[BATCHES:][::2]
    assert came[1].trained_on == theirs[:BATCHES][1::2] + theirs[BATCHES:][1::2]
    for each in came:
        evaluated = 4 * len(each.history[0])      # a batch each time, and no other is fetched
        assert each.loaded == 4 * len(each.trained_on) + evaluated


@pytest.mark.slow
def test_tokens_are_counted_on_all_processes(two, alone):
    targets = sum((y != -100).sum().item() for _, y in runner.Windows(padding=True))
    for came in outcomes(two, "ddp padding"):
        assert came.history[2][-1] == EPOCHS * targets
    assert outcomes(two, "four")[1].history[2] == alone["four"].history[2]


@pytest.mark.slow
def test_more_micro_batches_than_processes_are_the_same_update_up_to_the_order_of_the_sum(two, alone):
    ours, theirs = outcomes(two, "four")[0], alone["four"]
    torch.testing.assert_close(ours.weights, theirs.weights, rtol=0, atol=1e-4)
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-4) and len(ours.losses) == 4


@pytest.mark.slow
def test_only_the_first_process_prints_and_calls_back(two):
    lines = (two / "printed").read_text().splitlines()
    fresh = len(ENGINES) * len(CASES) + 3
    assert sum(line.startswith("Before step") for line in lines) == fresh
    assert [bool(came.losses) for came in outcomes(two, "ddp all")] == [True, False]


@pytest.mark.slow
def test_every_micro_batch_of_a_run_draws_dropout_from_a_seed_of_its_own(two, alone):
    first, second = (came.seeds for came in outcomes(two, "ddp dropout"))
    assert len({*first, *second}) == len(first + second) == EPOCHS * BATCHES
    assert {*first, *second} == {*alone["dropout"].seeds}


def test_a_seed_belongs_to_the_run_and_to_the_number_of_the_micro_batch():
    def drawn(number):
        with turn(model, number, last=True):
            return torch.rand(4).tolist()

    model = GPTModel(CFG)
    with group_of_one():
        torch.manual_seed(1)
        before = torch.get_rng_state()
        draws = [drawn(number) for number in (0, 1, 2, 1)]
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        draws.append(drawn(1))
    assert [draws.index(draw) for draw in draws] == [0, 1, 2, 1, 4]
    torch.manual_seed(1)
    alone = drawn(0) + drawn(0)      # without a process group: the one stream of random numbers
    torch.manual_seed(1)
    assert alone == torch.rand(4).tolist() + torch.rand(4).tolist()


# A run goes on with another number of processes.

@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_a_run_stopped_on_one_process_resumes_on_two_in_two_pieces_and_on_one_again_at_the_same_bits(name, two, alone):
    assert [len(outcomes(two, f"{name} in {how}")[0].losses) for how in ("two", "parts")] == [2, 2]
    with group_of_one() if name == "chain" else contextlib.nullcontext():
        end = quiet(runner.train, **CHAINS[name], checkpoint_path=two / f"{name}.pt", resume=True, seed=7)
    assert_same(end, alone[name])


@pytest.mark.slow
def test_the_stop_button_of_one_process_stops_all_at_the_same_step_and_the_rest_follows_with_the_same_bits(two, alone):
    came = outcomes(two, "stop")
    assert len(came[0].losses) == 6 == read_checkpoint(two / "stop.pt")["training"]["step"]
    assert came[0].history == came[1].history
    assert "Stopped at step 6: by hand." in (two / "printed").read_text().splitlines()
    with group_of_one():
        assert_same(quiet(runner.train, checkpoint_path=two / "stop.pt", resume=True), alone["dropout"])


@pytest.mark.slow
def test_the_best_weights_of_a_sharded_model_are_whole(two):
    best = load_weights(two / "best.safetensors").state_dict()
    assert {name: weight.shape for name, weight in best.items()} == {
        name: weight.shape for name, weight in GPTModel(CFG).state_dict().items()}


# What happens to one process.

@pytest.mark.slow
def test_a_loss_of_nan_on_one_process_stops_all_before_it_reaches_the_weights(two, alone):
    came = outcomes(two, "nan")
    assert came[0].losses == alone["dropout"].losses[:4] and len(came[1].trained_on) == 4
    assert all(weight.isfinite().all() for each in came for weight in each.weights.values())
    assert "Stopped at step 4: the training loss is nan. " in (two / "printed").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "which"), [("ddp", 0), ("fsdp", 1)])
def test_when_a_process_is_killed_torchrun_says_which_ends_the_others_and_goes_on_later_to_the_same_bits(
        engine, which, tmp_path, alone):
    run = {"engine": engine, "checkpoint_path": str(tmp_path / "run.pt"), "checkpoint_freq": 1, "resume": True}
    done = torchrun(tmp_path, {"run": run | {"fault": ["death", which, 3 + which]}})
    assert done.returncode != 0
    assert re.search(rf"exitcode: -9\) local_rank: {which} ", done.stderr)
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == {0: 3, 1: 5}[which]
    done = torchrun(tmp_path, {"run": run})
    assert done.returncode == 0, done.stderr
    assert_same(outcomes(tmp_path, "run")[0], alone["dropout"])


@pytest.mark.slow
def test_an_error_on_one_process_ends_the_run_with_a_line_that_says_which_and_leaves_the_checkpoint_whole(tmp_path):
    run = {"fault": ["error", 1, 3], "checkpoint_path": str(tmp_path / "run.pt"), "checkpoint_freq": 1}
    done = torchrun(tmp_path, {"run": run})
    assert done.returncode != 0
    assert "Process 1 stopped: RuntimeError: something broke\n" in done.stderr
    assert read_checkpoint(tmp_path / "run.pt")["training"]["step"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost(tmp_path):
    """Three rounds of what tests/benchmarks/soak_processes.py does as often as you like."""
    soak = Path(__file__).parent / "benchmarks" / "soak_processes.py"
    done = subprocess.run([sys.executable, soak, "3"], capture_output=True, encoding="utf-8", timeout=200)
    assert done.returncode == 0 and done.stdout.startswith("3 of 3 identical"), done.stdout + done.stderr


# What it costs.

SENT = """
import torch
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.parallel import processes, ring_bytes, size, wrap

def written():
    with open("/proc/self/io") as counts:
        return int(dict(line.split(": ") for line in counts)["wchar"])

with processes():
    model = wrap(GPTModel(GPT_CONFIG_TINY | {"vocab_size": 100}))
    for _ in range(3):      # in the first step DDP still arranges its buckets
        before = written()
        model(torch.zeros(1, 8, dtype=torch.int64)).logsumexp(-1).mean().backward()
        sent = written() - before
    print(sent / ring_bytes(sum(p.numel() for p in model.parameters()), size()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux, which counts what a process writes")
@pytest.mark.parametrize("count", [2, 3])
def test_a_step_sends_as_many_bytes_as_the_formula_says(count, tmp_path):
    (tmp_path / "sent.py").write_text(SENT)
    done = torchrun(tmp_path, {}, program=str(tmp_path / "sent.py"), count=count)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1, abs=0.03)


# One process, and mistakes.

@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_without_torchrun_a_program_runs_alone_on_the_device_it_asks_for(device):
    with processes(device) as given:
        model = GPTModel(CFG).to(given)
        assert (given, rank(), size(), together()) == (torch.device(device), 0, 1, False)
        assert wrap(model, "ddp") is model and wrap(model, "fsdp") is model


def test_a_micro_batch_goes_to_the_device_of_the_model_and_so_does_what_stands_in_for_a_missing_one(monkeypatch):
    """PyTorch's meta device stands in for a GPU; it has no numbers to read."""
    model, batch = GPTModel(CFG).to("meta"), (torch.zeros(2, 8, dtype=torch.int64),) * 2
    real = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1.0 if tensor.is_meta else real(tensor))
    with group_of_one():
        assert accumulate_gradients([batch, None], model, "meta") == (2.0, 16)
    assert all(p.grad.is_meta for p in model.parameters())


@pytest.mark.parametrize(("options", "words"), [
    ({"accumulate": 3}, r"got accumulate=3 for 2 processes, need a multiple of 2"),
    ({}, r"got accumulate=1 for 2 processes")])
def test_micro_batches_that_cannot_be_shared_out_are_refused(options, words, monkeypatch):
    parts = training()
    with group_of_one():
        parts[0] = wrap(parts[0])
        monkeypatch.setattr("gpt_helpers.parallel.size", lambda: 2)
        with pytest.raises(ValueError, match=words):
            train_model(*parts, **options)


def test_a_model_that_each_process_would_train_for_itself_is_refused(monkeypatch):
    monkeypatch.setattr("gpt_helpers.parallel.size", lambda: 2)
    with pytest.raises(ValueError, match=r"^got a model that each of 2 processes would train for itself: wrap it first"):
        train_model(*training(), accumulate=2)


def test_processes_that_have_not_joined_are_refused(monkeypatch):
    """Each would train the whole model on all batches, and all would write the same file."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"^torchrun started 2 processes, and each would train for itself: train inside"):
        train_model(*training())


class Stream(torch.utils.data.IterableDataset):
    """Windows in their order, as from a file that is read once."""

    def __init__(self, windows):
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __iter__(self):
        return iter(self.windows)


def test_what_processes_could_not_share_is_refused():
    parts = training()
    rows = torch.utils.data.DataLoader([(torch.zeros(1, 8, dtype=torch.int64),) * 2] * 4, batch_size=None)
    with group_of_one():
        with pytest.raises(ValueError, match="got a DataLoader without a batch_sampler"):
            train_model(*with_parts(parts, train_loader=rows))
        stream = Stream(parts[1].dataset)
        with pytest.raises(ValueError, match="got a loader over a Stream, an IterableDataset, so its batches cannot"):
            train_model(*with_parts(parts, train_loader=torch.utils.data.DataLoader(stream, batch_size=4)))
        share = torch.utils.data.DistributedSampler(parts[1].dataset)
        with pytest.raises(ValueError, match="got a loader with a DistributedSampler, which shares its batches out"):
            train_model(*with_parts(parts, train_loader=torch.utils.data.DataLoader(parts[1].dataset, 4, sampler=share)))
        with pytest.raises(ValueError, match="got preflight=True under torchrun: call"):
            train_model(*parts, preflight=True)


def test_several_processes_go_on_where_there_are_fewer_gpus(monkeypatch):
    """What they draw on a GPU is seeded for each micro-batch, so no state of a GPU is needed."""
    loader, state = training()[1], random_state() | {"cuda": [torch.get_rng_state()] * 4}
    with group_of_one():
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        require_state(vars(TrainState(rng=state)), loader)
        set_random_state(state)
        monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="a machine with 4 GPUs, and this one has 1"):
        require_state(vars(TrainState(rng=state)), loader)


def test_an_engine_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"got engine='dpp', need 'ddp', all weights on each process, or 'fsdp'"):
        wrap(GPTModel(CFG), "dpp")


def test_the_ring_formula():
    assert [ring_bytes(100, processes) for processes in (1, 2, 4)] == [0, 400, 600]
