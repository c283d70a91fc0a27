"""The same code on any device. PyTorch's meta device refuses to mix with another one, so it stands in for a GPU."""
import platform
import subprocess
import sys
from functools import partial

import pytest
import torch
from small import SMALL, live_tensors
from torch import nn
from torch.utils.checkpoint import checkpoint

from gpt_helpers.data import create_dataloader
from gpt_helpers.device import pick_device, prepare_device, rough_duration, saved_for_backward, step_seconds, training_memory
from gpt_helpers.generate import generate_text_simple
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPT_CONFIG_124M, GPTModel


@pytest.fixture(autouse=True)
def precision():
    """Put back what pick_device sets where it finds, or is told, that there is a GPU."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def elsewhere():
    """A model on the meta device. An embedding there would take ids from the CPU, so every module's input is watched."""
    def stay_there(module, inputs):
        assert all(t.is_meta for t in inputs if isinstance(t, torch.Tensor)), f"{module} was given a tensor from another device"

    model = GPTModel(SMALL).to("meta")
    for module in model.modules():
        module.register_forward_pre_hook(stay_there)
    return model


def test_a_loader_feeds_a_model_that_lives_elsewhere(elsewhere):
    [(x, y)] = create_dataloader(torch.arange(33), batch_size=2, context_length=16)
    assert x.device.type == "cpu"
    loss = calc_loss_batch(x, y, elsewhere, torch.device("meta"))
    loss.backward()
    assert loss.is_meta and all(p.grad.is_meta for p in elsewhere.parameters())


def test_an_update_with_all_that_a_large_training_adds_runs_elsewhere(elsewhere):
    """Ids of 16 bits, micro-batches, recomputed blocks, clipping, groups and a schedule."""
    ids = torch.arange(65).to(torch.uint16)
    groups = [{"params": [p for p in elsewhere.parameters() if p.ndim > 1]},
              {"params": [p for p in elsewhere.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for block in elsewhere.trf_blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for x, y in create_dataloader(ids, batch_size=2, context_length=16):
        (calc_loss_batch(x, y, elsewhere, "meta") / 2).backward()
    norm = torch.nn.utils.clip_grad_norm_(elsewhere.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    assert norm.is_meta and schedule.get_last_lr() == [5e-4, 5e-4]
    assert all(t.is_meta for state in optimizer.state.values() for name, t in state.items() if name != "step")


def test_a_model_that_lives_elsewhere_generates_there(elsewhere):
    idx = generate_text_simple(elsewhere, torch.zeros(1, 3, dtype=torch.int64, device="meta"), 4, 16)
    assert idx.is_meta and idx.shape == (1, 7)


def test_the_stand_in_notices_a_mix(elsewhere):
    ids = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(AssertionError, match="another device"):
        elsewhere(ids)
    logits = elsewhere(ids.to("meta"))
    for mix in (lambda: torch.nn.functional.cross_entropy(logits[0], ids[0]), lambda: torch.cat([ids, logits.argmax(-1)])):
        with pytest.raises(RuntimeError, match="device"):
            mix()


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"),
                                                       (False, False, "cpu")])
def test_cuda_comes_before_mps_before_cpu(monkeypatch, capsys, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device() == torch.device(expected)
    assert capsys.readouterr().out.startswith(f"Device: {expected} (PyTorch found ")


def test_memory_is_counted_part_by_part():
    memory = training_memory(GPT_CONFIG_124M | {"context_length": 256}, batch_size=2)
    assert memory["weights"] == memory["gradients"] == 4 * 162_419_712
    assert memory["AdamW's two moment estimates"] == 8 * 162_419_712


def test_the_activations_counted_are_those_that_backward_keeps():
    """The count made without numbers against one made on the CPU, on tensors that exist."""
    model = GPTModel(SMALL)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.zeros(3, 16, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        calc_loss_batch(ids, ids, model, "cpu")
    counted = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)
    assert training_memory(SMALL, batch_size=3)["activations"] == pytest.approx(counted, rel=0.02)


def test_the_largest_thing_kept_is_the_log_softmax_and_no_weight_is_among_them():
    model = GPTModel(SMALL).eval()
    x, y = torch.randint(97, (2, 3, 16))
    kept = saved_for_backward(x, y, model)
    largest = max(kept, key=lambda tensor: tensor.nbytes)
    torch.testing.assert_close(largest, model(x).flatten(0, 1).log_softmax(-1).detach())
    assert {tensor.data_ptr() for tensor in kept}.isdisjoint(p.data_ptr() for p in model.parameters())
    assert len({(tensor.data_ptr(), tensor.nbytes) for tensor in kept}) == len(kept)


def test_a_part_of_a_tensor_that_is_kept_does_not_stand_for_the_whole():
    """Autograd keeps `h` for the square and its first row for the product: one storage, of which the whole counts."""
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.scale = nn.Embedding(5, 5), nn.Parameter(torch.ones(5))

        def forward(self, ids):
            h = self.emb(ids)
            return h.square() + h[:, :1] * self.scale

    x = torch.zeros(2, 4, dtype=torch.int64)
    assert (2, 4, 5) in [tuple(tensor.shape) for tensor in saved_for_backward(x, x, Model())]


def test_nothing_is_kept_for_backward_without_gradients():
    x = torch.zeros(1, 16, dtype=torch.int64)
    with torch.no_grad():
        assert saved_for_backward(x, x, GPTModel(SMALL)) == []


def test_timing_a_step_changes_no_random_number_that_follows():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert step_seconds(SMALL, batch_size=2, device="cpu") > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_durations_are_told_coarsely():
    assert rough_duration(3) == "less than a minute"
    assert rough_duration(400) == "5 to 15 minutes"
    assert rough_duration(10**6) == "1 to 4 weeks"
    assert rough_duration(10**8) == "1 to 10 years"
    assert rough_duration(10**9) == "more than 10 years"


def test_a_device_is_made_ready_by_a_function_of_its_own():
    for device, precision in (("cpu", "highest"), ("cuda", "high")):
        assert prepare_device(torch.device(device)) == torch.device(device)
        assert torch.get_float32_matmul_precision() == precision


def test_picking_a_device_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a stand-in")
    assert pick_device() == torch.device("cuda") and torch.get_float32_matmul_precision() == "highest"


def test_the_cpu_can_be_forced_by_argument_or_environment(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("cpu") == torch.device("cpu")
    assert capsys.readouterr().out == "Device: cpu (as you asked)\n"
    monkeypatch.setenv("GPT_HELPERS_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")
    assert capsys.readouterr().out == "Device: cpu (as GPT_HELPERS_DEVICE asks)\n"
    assert pick_device("meta") == torch.device("meta")      # the argument comes first


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "CPU", ""])
def test_a_device_that_is_not_there_is_refused_in_one_line(name, monkeypatch):
    monkeypatch.setenv("GPT_HELPERS_DEVICE", name or "nonsense")
    with pytest.raises(ValueError, match=r"got the device .*, which PyTorch does not have here") as caught:
        pick_device(name or None)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_counting_memory_leaves_nothing_behind():
    """A hook that returned the saved tensor itself would tie the whole graph to itself."""
    training_memory(SMALL, 2)
    before = live_tensors()
    training_memory(SMALL, 2)
    assert live_tensors() == before


FAULTS = """
import resource, torch
from gpt_helpers.device import pick_device, prepare_device
{call}
for _ in range(20):
    torch.ones(2**24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs GNU's C library")
def test_on_the_cpu_large_pieces_of_memory_are_used_again():
    """64 MiB are 16,384 pages; without the setting they are given back when freed, and asked for anew."""
    def faults(call):
        code = FAULTS.format(call=call)
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
        return int(out.splitlines()[-1])

    assert faults("prepare_device(pick_device())") < 100 < 10_000 < faults("")
