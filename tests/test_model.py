"""The model: its shapes, its random numbers, its causality, its errors."""
import math

import pytest
import torch
import torch.nn.functional as F
from small import SMALL

from gpt_helpers.linear import onednn_is_faster
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPT_CONFIG_124M, GPT_CONFIG_TINY, GPTModel


@pytest.fixture
def model():
    torch.manual_seed(123)
    return GPTModel(SMALL).eval()


@pytest.fixture
def ids():
    return torch.randint(97, (2, 16), generator=torch.Generator().manual_seed(1))


def test_the_full_size_has_as_many_weights_as_published():
    with torch.device("meta"):
        model = GPTModel(GPT_CONFIG_124M | {"context_length": 256})
    weights = sum(p.numel() for p in model.parameters())
    assert weights == 162_419_712
    assert round((weights - model.tok_emb.weight.numel()) / 1e6) == 124      # GPT-2 has one table for both its ends


def test_logits_have_one_row_of_the_vocabulary_per_token(model, ids):
    assert model(ids).shape == (2, 16, 97)
    assert model(ids[:, :5]).shape == (2, 5, 97)


def test_a_cache_gives_the_logits_of_the_whole(model, ids):
    cache = model.new_kv_cache()
    parts = [model(ids[:, :3], kv_cache=cache), *(model(ids[:, t:t + 1], kv_cache=cache) for t in range(3, ids.shape[1]))]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids))


def test_a_cache_takes_one_token_at_a_time_and_no_more_than_the_context(model, ids):
    cache = model.new_kv_cache()
    model(ids[:, :3], kv_cache=cache)
    with pytest.raises(ValueError, match="got 2 tokens with a KV cache of 3, need only the new one"):
        model(ids[:, :2], kv_cache=cache)
    for _ in range(model.cfg["context_length"] - 3):
        model(ids[:, :1], kv_cache=cache)
    with pytest.raises(ValueError, match="the model takes at most context_length"):
        model(ids[:, :1], kv_cache=cache)


def test_last_only_gives_the_last_row_alone(model, ids):
    assert model(ids, last_only=True).shape == (2, 1, 97)
    torch.testing.assert_close(model(ids, last_only=True), model(ids)[:, -1:])


def test_modules_draw_their_weights_in_the_published_order():
    """Token embedding, position embedding, then per block q, k, v, output projection and feed-forward, then the head."""
    torch.manual_seed(123)
    model = GPTModel(SMALL)
    torch.manual_seed(123)
    width = SMALL["emb_dim"]
    assert torch.equal(model.tok_emb.weight, torch.nn.Embedding(97, width).weight)
    assert torch.equal(model.pos_emb.weight, torch.nn.Embedding(16, width).weight)
    for block in model.trf_blocks:
        q, k, v = (torch.nn.Linear(width, width, bias=False).weight for _ in range(3))
        assert torch.equal(block.att.qkv.weight, torch.cat([q, k, v]))
        for module, (inner, outer) in ((block.att.out_proj, (width, width)), (block.ff.fc_in, (width, 4 * width)),
                                       (block.ff.fc_out, (4 * width, width))):
            assert torch.equal(module.weight, (fresh := torch.nn.Linear(inner, outer)).weight)
            assert torch.equal(module.bias, fresh.bias)
    assert torch.equal(model.out_head.weight, torch.nn.Linear(width, 97, bias=False).weight)


def test_the_published_sizes():
    assert GPT_CONFIG_124M == {"vocab_size": 50257, "context_length": 1024, "emb_dim": 768, "n_heads": 12, "n_layers": 12,
                               "drop_rate": 0.1, "qkv_bias": False}


def written_out(model, ids, drop):
    """GPT-2's forward pass as a recipe, from the model's weights alone; drop says what happens where dropout stands.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
    """
    W = dict(model.named_parameters())

    def norm(x, name):
        z = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        return z * W[f"{name}.weight"] + W[f"{name}.bias"]

    def linear(x, name):
        return x @ W[f"{name}.weight"].T + W[f"{name}.bias"]

    B, T = ids.shape
    x = drop(W["tok_emb.weight"][ids] + W["pos_emb.weight"][:T])
    for i in range(2):
        block = f"trf_blocks.{i}"
        q, k, v = (part.view(B, T, 3, 8).transpose(1, 2) for part in
                   (norm(x, f"{block}.norm1") @ W[f"{block}.att.qkv.weight"].T).split(24, dim=-1))
        scores = (q @ k.mT / math.sqrt(8)).masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        heads = (drop(scores.softmax(-1)) @ v).transpose(1, 2).reshape(B, T, 24)
        x = x + drop(linear(heads, f"{block}.att.out_proj"))
        u = linear(norm(x, f"{block}.norm2"), f"{block}.ff.fc_in")
        u = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        x = x + drop(linear(u, f"{block}.ff.fc_out"))
    return norm(x, "final_norm") @ W["out_head.weight"].T


def spread(model):
    """Norms and biases start at 1 and 0; other values let a missing or misplaced one show."""
    for p in model.parameters():
        torch.nn.init.normal_(p, mean=0.5 * (p.ndim == 1), std=0.3)
    return model


def test_the_model_is_gpt2s_forward_pass_written_out(model, ids):
    spread(model.double())
    torch.testing.assert_close(model(ids), written_out(model, ids, drop=lambda x: x), atol=1e-9, rtol=1e-6)


def test_dropout_stands_where_gpt2_has_it_and_at_the_same_rate(model, ids):
    """After the embeddings, on the attention weights, and on both branches: the same random numbers in the same places."""
    spread(model.double()).train()
    torch.manual_seed(7)
    ours = model(ids)
    torch.manual_seed(7)
    torch.testing.assert_close(ours, written_out(model, ids, drop=lambda x: F.dropout(x, 0.1)), atol=1e-9, rtol=1e-6)


def test_the_past_cannot_see_the_future(model, ids):
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 97
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_one_sequence_of_a_batch_does_not_see_the_other(model, ids):
    torch.testing.assert_close(model(ids)[:1], model(ids[:1]))


def test_every_weight_gets_a_gradient(model, ids):
    calc_loss_batch(ids, ids.roll(-1, 1), model, "cpu").backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_works_in_training_and_not_in_evaluation(model, ids):
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_one_batch_can_be_memorised(ids):
    torch.manual_seed(123)
    model = GPTModel(SMALL | {"drop_rate": 0.0})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = calc_loss_batch(ids[:, :-1], ids[:, 1:], model, "cpu")
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_qkv_bias_adds_a_bias_and_nothing_else():
    def count(cfg):
        return sum(p.numel() for p in GPTModel(cfg).parameters())
    assert count(SMALL | {"qkv_bias": True}) - count(SMALL) == 2 * 3 * 24


def test_the_model_keeps_its_own_copy_of_the_configuration():
    cfg = dict(SMALL)
    model = GPTModel(cfg)
    cfg["context_length"] = 1
    assert model.cfg == SMALL


@pytest.mark.parametrize(("change", "message"), [
    ({"n_layer": 2}, "unknown 'n_layer'"),
    ({"emb_dim": 768.0}, r"emb_dim=768\.0, need an integer"),
    ({"n_heads": True}, "n_heads=True, need an integer"),
    ({"n_layers": 0}, "n_layers=0, need an integer of at least 1"),
    ({"vocab_size": "50257"}, "vocab_size='50257'"),
    ({"drop_rate": 1.0}, r"drop_rate=1\.0: need a number from 0"),
    ({"drop_rate": -0.1}, r"drop_rate=-0\.1"),
    ({"drop_rate": float("nan")}, "drop_rate=nan"),
    ({"drop_rate": "0.1"}, r"drop_rate='0\.1'"),
    ({"qkv_bias": 0}, "qkv_bias=0: need True or False"),
    ({"n_heads": 5}, "emb_dim=128 and n_heads=5: emb_dim must be a multiple of n_heads"),
])
def test_a_wrong_configuration_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        GPTModel(GPT_CONFIG_TINY | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", GPT_CONFIG_TINY)
def test_a_missing_key_is_named(key):
    with pytest.raises(ValueError, match=f"missing '{key}'"):
        GPTModel({k: v for k, v in GPT_CONFIG_TINY.items() if k != key})


def test_an_input_longer_than_the_context_is_refused(model):
    with pytest.raises(ValueError, match="got 17 tokens, the model takes at most context_length 16"):
        model(torch.zeros(1, 17, dtype=torch.int64))


@pytest.mark.parametrize("bad", [97, -1])
def test_ids_out_of_the_vocabulary_are_refused(model, bad):
    with pytest.raises(ValueError, match="the vocabulary of this model has 0 to 96"):
        model(torch.tensor([[1, bad, 2]]))


def test_the_whole_model_is_one_graph_for_torch_compile(model, ids):
    whole = torch.compile(model.eval(), backend="eager", fullgraph=True)
    assert torch.equal(whole(ids), model(ids))


@pytest.mark.parametrize("bad", [torch.zeros(4, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 4),
                                 torch.zeros(0, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.uint8)])
def test_ids_of_a_wrong_shape_or_type_are_refused(model, bad):
    with pytest.raises(ValueError, match="need int64 of shape"):
        model(bad)


@pytest.mark.parametrize("cfg", [None, "124M"])
def test_a_configuration_that_is_no_dict_is_refused(cfg):
    with pytest.raises(ValueError, match="need a dict like GPT_CONFIG_124M"):
        GPTModel(cfg)


@pytest.mark.parametrize("onednn", [False, True])
def test_evaluation_and_training_compute_the_same_logits(model, ids, onednn, monkeypatch):
    """While no gradients are asked for, another library may multiply, in another order."""
    monkeypatch.setattr("gpt_helpers.linear.onednn_is_faster", lambda: onednn)
    training = model(ids).detach()
    with torch.no_grad():
        assert torch.allclose(model(ids), training, rtol=1e-5, atol=1e-6)
        assert torch.allclose(model.double()(ids), training.double(), rtol=1e-5, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(model.float()(ids).float(), training, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("mkl", "name", "faster"), [
    (True, "AMD EPYC", True), (True, "Intel Xeon", False), (False, "AMD EPYC", False), (False, "Apple M2", False)])
def test_onednn_multiplies_where_mkl_is_not_at_home(mkl, name, faster, monkeypatch):
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: mkl)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"cpu_name": name}, raising=False)
    assert onednn_is_faster.__wrapped__() == faster
