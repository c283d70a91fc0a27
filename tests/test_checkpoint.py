"""Checkpoints: all or nothing, nothing executed, and one line for whatever is wrong with one."""
import copy
import errno
import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils import prune
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

from gpt_helpers.checkpoint import VERSION, describe_data, load_checkpoint, read_checkpoint, save_checkpoint
from gpt_helpers.data import create_dataloader
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.weights import load_weights, save_weights

CFG = GPT_CONFIG_TINY | {"vocab_size": 20, "emb_dim": 8, "n_heads": 1, "n_layers": 1, "context_length": 8}


def trained(cfg=CFG, optimizer_class=torch.optim.AdamW, seed=1):
    """A model and its optimizer after one step."""
    torch.manual_seed(seed)
    model = GPTModel(cfg)
    optimizer = optimizer_class(model.parameters(), lr=1e-2)
    model(torch.randint(20, (2, 8))).square().mean().backward()
    optimizer.step()
    return model, optimizer


def state(model, optimizer):
    return [*model.state_dict().values(), *(value for s in optimizer.state_dict()["state"].values() for value in s.values())]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.fixture
def saved_at(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, *trained(), {"step": 1, "losses": [[1.5], [2.5], [16]]}, data={"batches": 3})
    return path


def test_a_checkpoint_gives_back_what_was_saved(saved_at):
    model, optimizer = trained(seed=2)
    assert load_checkpoint(saved_at, model, optimizer, data={"batches": 3}) == {"step": 1, "losses": [[1.5], [2.5], [16]]}
    assert same(state(model, optimizer), state(*trained()))
    assert [path.name for path in saved_at.parent.iterdir()] == ["run.pt"]


def refused(path, message, model=None, optimizer=None, data=None):
    """Loading fails with this message, in one line, and changes nothing."""
    fresh = trained(seed=2)
    model, optimizer = model or fresh[0], optimizer or fresh[1]
    before = copy.deepcopy(state(model, optimizer))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_checkpoint(path, model, optimizer, data=data or {"batches": 3})
    assert "\n" not in str(caught.value)
    assert same(state(model, optimizer), before)


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "no.pt", "there is no file .*no.pt")
    refused(tmp_path, "there is no file")


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x00" * 1000, "grüße".encode()])
def test_a_file_that_is_something_else_is_refused(content, tmp_path):
    (tmp_path / "run.pt").write_bytes(content)
    refused(tmp_path / "run.pt", "damaged, cut short or no checkpoint")


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "Input/output error")])
def test_a_file_that_cannot_be_read_is_not_called_damaged(error, saved_at, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("zipfile.ZipFile.testzip", fail)
    with pytest.raises(type(error), match=rf"^run\.pt could not be read \({error.strerror}\): "):
        load_checkpoint(saved_at, *trained(), data={"batches": 3})


def test_a_file_cut_short_anywhere_is_refused(saved_at):
    whole = saved_at.read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        saved_at.write_bytes(whole[:length])
        refused(saved_at, "damaged")


@pytest.mark.slow
def test_a_damaged_byte_is_refused_or_harmless(saved_at):
    whole, right = saved_at.read_bytes(), state(*trained())
    refusals, places = 0, range(0, len(whole), 61)
    model, optimizer = trained(seed=2)
    for place in places:
        spoiled = bytearray(whole)
        spoiled[place] ^= 0x41
        saved_at.write_bytes(spoiled)
        try:
            load_checkpoint(saved_at, model, optimizer, data={"batches": 3})
        except ValueError as error:
            refusals += 1
            assert "\n" not in str(error)
        else:
            assert same(state(model, optimizer), right), place
    assert refusals > len(places) / 3


def test_nothing_in_a_file_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"format": Evil()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("zip.pt", "plain.pt"):
        refused(tmp_path / name, "damaged, cut short or no checkpoint")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [1, [], {}, {"model": {}}, {"format": "other"}, torch.ones(3)])
def test_a_foreign_file_of_torch_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "run.pt")
    refused(tmp_path / "run.pt", "not a gpt_helpers checkpoint")


@pytest.mark.parametrize(("change", "message"), [
    (lambda saved: saved.update(version=VERSION + 1), f"version {VERSION + 1}, this gpt_helpers reads version {VERSION}"),
    (lambda saved: saved.pop("version"), "version None"),
    (lambda saved: saved["config"].update(drop_rate=0.5), "another model configuration .drop_rate was 0.5, and is now 0.1"),
    (lambda saved: saved["config"].pop("n_heads"), "n_heads was None"),
    (lambda saved: saved.update(config=None), "another model configuration"),
    (lambda saved: saved.update(data={"batches": 4}), "other training data .batches was 4, and is now 3"),
    (lambda saved: saved.update(optimizer_class="SGD"), "another optimizer .it was 'SGD', and is now 'AdamW'"),
    (lambda saved: saved.pop("model"), "does not hold the weights"),
    (lambda saved: saved["model"].pop("out_head.weight"), "does not hold the weights"),
    (lambda saved: saved["model"].update({"out_head.weight": torch.ones(2, 2)}), "does not hold the weights"),
    (lambda saved: saved["model"].update({"out_head.weight": 3}), "does not hold the weights"),
    (lambda saved: saved["optimizer"].pop("state"), "does not hold the weights"),
    (lambda saved: saved["optimizer"]["state"][0].update(exp_avg=torch.ones(3)), "does not hold the weights"),
    (lambda saved: saved["optimizer"]["param_groups"].pop(), "does not hold the weights"),
])
def test_a_checkpoint_that_does_not_fit_is_refused(saved_at, change, message):
    saved = read_checkpoint(saved_at)
    change(saved)
    torch.save(saved, saved_at)
    refused(saved_at, message)


def test_another_optimizer_is_refused(saved_at):
    model, optimizer = trained(optimizer_class=torch.optim.SGD)
    refused(saved_at, "it was 'AdamW', and is now 'SGD'", model, optimizer)


def test_weights_that_are_no_numbers_are_not_saved(saved_at):
    before = saved_at.read_bytes()
    model, optimizer = trained()
    with torch.no_grad():
        model.final_norm.bias[3] = float("inf")
    with pytest.raises(ValueError, match=r"the weights final_norm.bias hold nan or infinity"):
        save_checkpoint(saved_at, model, optimizer, {})
    assert saved_at.read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
@pytest.mark.parametrize("what", ["save_checkpoint({path!r}, *trained(), {{}})", "save_weights({path!r}, trained()[0])"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(saved_at, what):
    """For real: the system lets the process write no more than 4 kB to a file."""
    before = saved_at.read_bytes()
    code = ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)); from test_checkpoint import *\n"
            f"try: {what.format(path=str(saved_at))}\nexcept OSError as error: print(error)")
    out = subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(__file__), capture_output=True, encoding="utf-8",
                         check=True).stdout
    assert out.startswith("run.pt could not be written (") and out.count("\n") == 1
    assert saved_at.read_bytes() == before
    assert [path.name for path in saved_at.parent.iterdir()] == ["run.pt"]


def test_weights_are_safetensors_that_anyone_can_load(tmp_path):
    model, _ = trained()
    save_weights(tmp_path / "w.safetensors", model)
    found = load_file(tmp_path / "w.safetensors")
    assert found.keys() == model.state_dict().keys() and all(torch.equal(found[key], w) for key, w in model.state_dict().items())
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.cfg == CFG and not loaded.training and same([*loaded.state_dict().values()], [*model.state_dict().values()])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_come_back_as_the_type_of_number_that_they_were(dtype, tmp_path):
    model = trained()[0].to(dtype)
    save_weights(tmp_path / "w.safetensors", model)
    loaded = load_weights(tmp_path / "w.safetensors").state_dict()
    assert {weight.dtype for weight in loaded.values()} == {dtype}
    assert same([*loaded.values()], [*model.state_dict().values()])


def test_averaged_weights_are_those_of_the_model_inside(tmp_path):
    average = torch.optim.swa_utils.AveragedModel(trained()[0])
    average.update_parameters(trained()[0])
    average.update_parameters(trained(seed=2)[0])
    save_weights(tmp_path / "w.safetensors", average)
    expected = torch.lerp(trained()[0].out_head.weight, trained(seed=2)[0].out_head.weight, 0.5)
    torch.testing.assert_close(load_weights(tmp_path / "w.safetensors").out_head.weight, expected)


class Lora(torch.nn.Module):
    """A layer whose weight is frozen, and two small ones beside it that learn."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.down = layer, torch.nn.Linear(layer.in_features, 2, bias=False)
        self.up = torch.nn.Linear(2, layer.out_features, bias=False)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def with_lora(model):
    model.out_head = Lora(model.out_head)


@pytest.mark.parametrize(("change", "name"), [
    (with_lora, "out_head.down.weight, out_head.layer.weight"),
    (lambda model: prune.random_unstructured(model.out_head, "weight", 0.5), "out_head.weight, out_head.weight_mask"),
    (lambda model: model.register_buffer("mask", torch.ones(8, 8)), "mask")])
def test_weights_that_load_weights_could_not_load_are_not_saved_as_such(change, name, tmp_path):
    model, _ = trained()
    change(model)
    with pytest.raises(ValueError, match=f"not just the weights of a GPTModel .*{name}.*, so load_weights could not") as caught:
        save_weights(tmp_path / "w.safetensors", model)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:100], lambda data: data[:-1], lambda data: b"x" * 500,
                                   lambda data: data.replace(b"n_heads", b"m_heads")])
def test_damaged_weights_are_refused(spoil, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, trained()[0])
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"w\.safetensors is damaged") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_data_are_told_apart_by_tokens_and_settings():
    ids = torch.arange(50)
    loaders = [create_dataloader(ids, 2, 4), create_dataloader(ids, 3, 4), create_dataloader(ids, 2, 5),
               create_dataloader(ids, 2, 4, 2), create_dataloader(ids, 2, 4, shuffle=True), create_dataloader(ids + 1, 2, 4)]
    facts = [describe_data(loader) for loader in loaders]
    assert all(a != b for i, a in enumerate(facts) for b in facts[:i])
    assert facts[0] == describe_data(create_dataloader(ids.clone(), 2, 4))
    assert describe_data([1, 2])["batches"] == 2


def test_data_of_other_kinds_are_told_apart_by_what_they_hold():
    """A split that is drawn anew has as many batches as before, with windows in it that were for validation."""
    windows, other = (create_dataloader(torch.arange(50) + i, 2, 4).dataset for i in range(2))
    drawn = [random_split(windows, [8, 4], torch.Generator().manual_seed(seed))[0] for seed in (1, 2)]
    zeros, ones = torch.zeros(8, 4), torch.ones(8, 4)
    kinds = [*drawn, Subset(other, drawn[0].indices), Subset(windows, range(8)), TensorDataset(zeros, ones),
             TensorDataset(ones, zeros), ConcatDataset([Subset(windows, range(4)), Subset(other, range(4))])]
    facts = [describe_data(DataLoader(each, 2)) for each in kinds]
    assert all(a != b for i, a in enumerate(facts) for b in facts[:i])
    assert facts[0] == describe_data(DataLoader(random_split(windows, [8, 4], torch.Generator().manual_seed(1))[0], 2))
    assert "sha256" not in describe_data(DataLoader(range(8), 2))
