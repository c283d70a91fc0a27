"""GPT-2's published weights, loaded into GPTModel, compute what they compute in the library they were published for.

The real files hold 0.5 to 6 GB, and no test downloads one: models of the same architecture with random weights take their place,
saved by that library, or written here name by name as the published files have them.
"""
import contextlib
import copy
import io
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save, save_file
from small import SMALL

from gpt_helpers.generate import generate, generate_text_simple
from gpt_helpers.gpt2_weights import as_published, gpt2_config, load_gpt2
from gpt_helpers.model import GPT_CONFIG_124M, GPTModel
from gpt_helpers.weights import load_weights, save_weights

README = Path(__file__).parent.parent / "README.md"
SIZES = {"gpt2": (768, 12, 124_439_808), "gpt2-medium": (1024, 24, 354_823_168), "gpt2-large": (1280, 36, 774_030_080),
         "gpt2-xl": (1600, 48, 1_557_611_200)}      # width, blocks, parameters


def shapes(width=64, blocks=2, vocab=97, context=16):
    """GPT-2's weights as its files have them: {published name: shape}."""
    norm, block = {"weight": (width,), "bias": (width,)}, {}
    for name in ("ln_1", "ln_2"):
        block |= {f"{name}.{part}": shape for part, shape in norm.items()}
    for name, inputs, outputs in (("attn.c_attn", 1, 3), ("attn.c_proj", 1, 1), ("mlp.c_fc", 1, 4), ("mlp.c_proj", 4, 1)):
        block |= {f"{name}.weight": (inputs * width, outputs * width), f"{name}.bias": (outputs * width,)}
    every = {f"h.{i}.{name}": shape for i in range(blocks) for name, shape in block.items()}
    return {"wte.weight": (vocab, width), "wpe.weight": (context, width), "ln_f.weight": (width,), "ln_f.bias": (width,)} | every


def pickled(write, *args, **kwargs):
    """The bytes of a file that write(..., file) would write."""
    file = io.BytesIO()
    write(*args, file, **kwargs)
    return file.getvalue()


def random_weights(**size):
    generator = torch.Generator().manual_seed(1)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes(**size).items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def loaded(path, tensors):
    save_file(tensors, path)
    return load_gpt2(path)


@pytest.fixture(scope="module")
def theirs():
    """Hugging Face's GPT-2 with random weights, biases and norms, too, so that none can be mistaken for another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=97, n_positions=16, n_embd=128, n_layer=2, n_head=2, bos_token_id=96, eos_token_id=96)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.mean() + 0.1 * torch.randn_like(weight))
    return model


@pytest.fixture
def ours(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    return load_gpt2(tmp_path / "model.safetensors")


IDS = torch.randint(96, (3, 17), generator=torch.Generator().manual_seed(2))


@pytest.mark.slow
def test_the_logits_are_those_of_transformers(ours, theirs):
    """To a few roundings in float32, which each library adds up in its own order."""
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS[:, :-1]), theirs(IDS[:, :-1]).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_greedy_sampling_gives_the_ids_of_transformers_and_stops_where_it_stops(ours, theirs):
    found = theirs.generate(IDS[:1, :4], max_new_tokens=12, do_sample=False, attention_mask=torch.ones(1, 4), eos_token_id=None)
    assert torch.equal(generate_text_simple(ours, IDS[:1, :4], 12, 16), found)
    stop = found[0, 9].item()
    short = theirs.generate(IDS[:1, :4], max_new_tokens=12, do_sample=False, attention_mask=torch.ones(1, 4), eos_token_id=stop,
                            pad_token_id=stop)
    assert short.shape[1] < 16
    assert torch.equal(generate(ours, IDS[0, :4], 12, 16, temperature=0, stop_token=stop), short)


@pytest.mark.slow
def test_gradients_and_ten_adamw_steps_are_those_of_transformers(ours, theirs):
    """In float64, without dropout, to a billionth of the largest number in each tensor. In float32 the gradients of the keys'
    biases, which are zero but for rounding, would be noise, which AdamW would turn into steps as large as any other."""
    ours, theirs = ours.double(), copy.deepcopy(theirs).double()
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1) for model in (ours, theirs)]
    losses = []
    for _ in range(10):
        pair = [F.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten())
                for logits in (ours(IDS[:, :-1]), theirs(IDS[:, :-1]).logits)]
        for loss, optimizer in zip(pair, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
        compare(as_published((name, weight.grad) for name, weight in ours.named_parameters()),
                {name: weight.grad for name, weight in theirs.transformer.named_parameters()})
        for optimizer in optimizers:
            optimizer.step()
        losses.append(pair[0].item())
    compare(as_published(ours.named_parameters()), dict(theirs.transformer.named_parameters()))
    assert losses[-1] < losses[0] - 1


def compare(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-9 * tensor.abs().max().item(),
                                   msg=lambda words, name=name: f"{name}: {words}")


@pytest.mark.parametrize("size", SIZES)
def test_each_published_size_is_known_by_its_shapes_and_has_its_number_of_parameters(size):
    width, blocks, parameters = SIZES[size]
    published = shapes(width, blocks, 50257, 1024)
    cfg = gpt2_config(published)
    assert cfg == GPT_CONFIG_124M | {"emb_dim": width, "n_layers": blocks, "n_heads": width // 64, "qkv_bias": True}
    with torch.device("meta"):
        model = GPTModel(cfg)
    model.out_head.weight = model.tok_emb.weight
    assert {name: tuple(weight.shape) for name, weight in as_published(model.named_parameters()).items()} == published
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def test_every_weight_arrives_in_its_place_with_the_head_tied_and_without_a_random_number(path):
    tensors, before = random_weights(), torch.get_rng_state()
    model = loaded(path, tensors)
    assert torch.equal(torch.get_rng_state(), before)
    found = as_published(model.named_parameters())
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert model.out_head.weight is model.tok_emb.weight and not model.training
    assert all(weight.requires_grad and weight.is_contiguous() for weight in model.parameters())
    assert model.cfg == {"vocab_size": 97, "context_length": 16, "emb_dim": 64, "n_heads": 1, "n_layers": 2, "drop_rate": 0.1,
                         "qkv_bias": True}


def test_the_model_needs_its_file_no_longer(path):
    model = loaded(path, random_weights())
    before = model(IDS[:, :-1])
    path.write_bytes(bytes(path.stat().st_size))
    path.unlink()
    assert torch.equal(model(IDS[:, :-1]), before)


@pytest.mark.parametrize("change", [
    lambda w: {f"transformer.{name}": tensor for name, tensor in w.items()},
    lambda w: {f"transformer.{name}": tensor for name, tensor in w.items()} | {"lm_head.weight": w["wte.weight"].clone()},
    lambda w: w | {"h.0.attn.bias": torch.ones(1, 1, 16, 16).tril(), "h.0.attn.masked_bias": torch.tensor(-1e4)},
    lambda w: {name: tensor.double() for name, tensor in w.items()},
], ids=["with a prefix", "with a head", "with masks", "in float64"])
def test_files_that_differ_in_form_give_the_same_model(change, path):
    plain = loaded(path, random_weights()).state_dict()
    found = loaded(path, change(random_weights())).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in plain.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(dtype, path):
    tensors = {name: tensor.to(dtype) for name, tensor in random_weights().items()}
    model = loaded(path, tensors | {"lm_head.weight": tensors["wte.weight"].clone()})
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(model.tok_emb.weight, tensors["wte.weight"].float())


def test_what_was_loaded_is_saved_and_loaded_as_any_model_is(path):
    model = loaded(path, random_weights())
    save_weights(path, model)
    again = load_weights(path)
    assert again.out_head.weight is again.tok_emb.weight and again.cfg == model.cfg
    assert torch.equal(again(IDS[:, :-1]), model(IDS[:, :-1]))


def changed(**tensors):
    """A file's weights with some exchanged, added or, when None, taken out; two underscores stand for a point."""
    weights = random_weights() | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return save({name: tensor for name, tensor in weights.items() if tensor is not None})


NOT_WHOLE = r"is not a whole safetensors file \(Error while deserializing .+\): .+"
WHOLE = save(random_weights())
BAD = {
    "empty": (b"", NOT_WHOLE),
    "cut off": (WHOLE[:-100], NOT_WHOLE),
    "header cut off": (WHOLE[:100], NOT_WHOLE),
    "a PyTorch file": (pickled(torch.save, random_weights()), "is not a whole safetensors file .+"),
    "an old PyTorch file": (pickled(torch.save, random_weights(), _use_new_zipfile_serialization=False),
                            "is not a whole safetensors file .+"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n", NOT_WHOLE),
    "a web page": (b"<!doctype html><title>Not found</title>", NOT_WHOLE),
    "no weights": (save({}), r".+ \(needs wte.weight .+, has none, none and 0; .+\): .+"),
    "another model": (save({"model.embed_tokens.weight": torch.ones(97, 64)}), ".+ has none, none and 0; .+"),
    "no positions": (changed(wpe__weight=None), r".+ has \(97, 64\), none and 2; .+"),
    "no tokens": (changed(wte__weight=torch.ones(0, 64)), r".+ has \(0, 64\), \(16, 64\) and 2; .+"),
    "an embedding of one dimension": (changed(wte__weight=torch.ones(64)), r".+ has \(64,\), \(16, 64\) and 2; .+"),
    "a weight missing": (changed(h__1__mlp__c_fc__bias=None), r".+ \(h.1.mlp.c_fc.bias is missing\): .+"),
    "a block missing": (save({name: tensor for name, tensor in random_weights(blocks=3).items() if "h.1." not in name}),
                        r".+ \(h.1.ln_1.weight is missing\): .+"),
    "a block of another size": (changed(h__1__mlp__c_fc__weight=torch.ones(64, 128)),
                                r".+ \(h.1.mlp.c_fc.weight has the shape \(64, 128\) where \(64, 256\) is needed\): .+"),
    "not transposed": (changed(h__0__attn__c_attn__weight=torch.ones(192, 64)), r".+ the shape \(192, 64\) where \(64, 192\) .+"),
    "a weight more": (changed(score__weight=torch.ones(2, 64)), r".+ \(score.weight is not one of its weights\): .+"),
    "both forms in one": (changed(transformer__wte__weight=torch.ones(97, 64)), ".+ has .+, none and 2; .+"),
    "an unknown size": (save(random_weights(width=96)), r".+ \(its embedding is 96 wide, not a multiple of 64, .+\): .+"),
    "a head of its own": (changed(lm_head__weight=torch.ones(97, 64)), r".+ \(lm_head.weight differs from wte.weight, .+\): .+"),
    "integers": (changed(ln_f__bias=torch.ones(64, dtype=torch.int64)), r".+ \(ln_f.bias \(torch.int64\) holds .+\): .+"),
    "a name of two lines": (changed(**{"h.0\nh.1": torch.ones(1)}), r".+ \(h.0 h.1 is not one of its weights\): .+"),
    "nan": (changed(ln_f__bias=torch.full((64,), torch.nan)), r".+ \(ln_f.bias \(torch.float32\) holds .*nan or infinity\): .+"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_does_not_fit_is_refused_in_one_line(bad, path):
    data, message = BAD[bad]
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        load_gpt2(path)
    assert re.fullmatch(f"model.safetensors {message}", str(caught.value))
    assert "download model.safetensors, not pytorch_model.bin, of gpt2" in str(caught.value) and len(str(caught.value)) < 350


def test_the_readme_samples_from_the_file(tmp_path, monkeypatch, capsys):
    """With a narrow GPT-2 in its place, of GPT-2's vocabulary, whose every token is the end of text."""
    tensors = random_weights(blocks=1, vocab=50257, context=1024)
    tensors["wte.weight"][50256] = tensors["ln_f.bias"] = torch.ones(64)
    save_file(tensors, tmp_path / "gpt2.safetensors")
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(from gpt_helpers[^`]+load_gpt2.+?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == "The tide came in, and<|endoftext|>\n"


def test_a_file_of_save_weights_is_sent_to_load_weights(path):
    save_weights(path, GPTModel(SMALL))
    with pytest.raises(ValueError, match=r"^model\.safetensors is not GPT-2 .+ what save_weights wrote is for load_weights"):
        load_gpt2(path)


@pytest.mark.parametrize("name", ["gpt2.safetensors", "."])
def test_a_file_that_is_not_there_is_to_be_downloaded(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file '.+': check its name and folder, or download it$"):
        load_gpt2(tmp_path / name)


def test_one_damaged_byte_never_ends_in_more_than_a_line(path):
    """A byte of the header, or the number of its bytes; one in a weight cannot be seen, unless it makes no number."""
    header = 8 + int.from_bytes(WHOLE[:8], "little")
    for position in [*range(8), *range(8, header, 97)]:
        path.write_bytes(WHOLE[:position] + bytes([WHOLE[position] ^ 1]) + WHOLE[position + 1:])
        with contextlib.suppress(ValueError):
            load_gpt2(path)
