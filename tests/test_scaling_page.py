"""docs/SCALING.md: its formulas are run as they stand there, and every number on the page is computed anew."""
import re
from pathlib import Path

import pytest
import torch

from gpt_helpers.model import GPT_CONFIG_124M, GPTModel

PAGE = (Path(__file__).parent.parent / "docs" / "SCALING.md").read_text(encoding="utf-8")
[BOX] = re.findall(r"```python\n(.+?)```", PAGE, flags=re.DOTALL)
F = {}
exec(BOX, F)

GPUS = 1, 8, 64, 1000
MODELS = {      # parameters, layers, width, window, tokens in a batch
    "GPT-2 124M": (F["parameters"](12, 768, 50257, 1024), 12, 768, 1024, 0.5e6),
    "GPT-2 1.5B": (F["parameters"](48, 1600, 50257, 1024), 48, 1600, 1024, 1e6),
    "7B": (7e9, 32, 4096, 4096, 2e6),
    "70B": (70e9, 80, 8192, 4096, 4e6),
}
DAY = 24 * 3600


def short(number):
    """Two significant digits, three from 100 on."""
    digits = 3 if number >= 99.5 else 2
    rounded = float(f"{number:.{digits - 1}e}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.{digits}g}"


def gigabytes(size):
    return f"{short(size / 1e9)} GB"


def time(seconds):
    for unit, length in (("days", DAY), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{short(seconds / length)} {unit}"
    return f"{short(seconds)} seconds"


def training(N, G):
    return F["seconds"](F["flops"](N, F["tokens"](N)), G)


def row(name, cells):
    return f"| {name} | {' | '.join(cells)} |"


def rows():
    """The rows of the page's tables of numbers."""
    models = MODELS.values()
    yield row("layers × width, window [13]", (f"{L} × {C:,}, {T:,} tokens" for _, L, C, T, _ in models))
    yield row("weights, gradients, moment estimates", (gigabytes(F["state"](N)) for N, *_ in models))
    yield row("activations of one window", (gigabytes(F["activations"](T, C, L)) for _, L, C, T, _ in models))
    yield row("the same, recomputed", (gigabytes(F["recomputed"](T, C, L)) for _, L, C, T, _ in models))
    yield row("text, billion tokens", (short(F["tokens"](N) / 1e9) for N, *_ in models))
    yield row("training, 10¹⁸ FLOPs", (short(F["flops"](N, F["tokens"](N)) / 1e18) for N, *_ in models))
    yield row("checkpoint", (gigabytes(F["checkpoint"](N)) for N, *_ in models))
    yield row("batch, million tokens [13]", (f"{batch / 1e6:g}" for *_, batch in models))
    for name, (N, *_) in MODELS.items():
        yield row(name, (f"{time(training(N, G))}, {gigabytes(F['state'](N, G))}" for G in GPUS))
    for name, (N, *_, batch) in MODELS.items():
        yield row(name, (f"{short(F['seconds'](F['flops'](N, batch), G))} s, {short(F['fsdp'](N, G) / F['wire'](G))} s"
                         for G in GPUS[1:]))
    pairs = [(N, G) for (N, *_), G in zip(models, GPUS, strict=True)]
    yield row("a failure every", (time(DAY / F["failures"](G)) for _, G in pairs))
    yield row("saving a checkpoint", (time(F["saving"](N, G)) for N, G in pairs))
    yield row("best time between checkpoints", (time(F["interval"](F["saving"](N, G), DAY / F["failures"](G))) for N, G in pairs))


SENTENCES = {
    "fits": f"80 GB hold the state of at most {short(80e9 / F['state'](1) / 1e9)} billion parameters",
    "head": f"another {gigabytes(F['head'](1024, 50257))} for a window of GPT-2 124M, recomputed or not",
    "ddp": f"{gigabytes(F['ddp'](7e9, 64))} from each of 64 GPUs at 7B",
    "bubbles": f"{F['bubble'](8, 8):.0%} of its working time with 8 micro-batches, and for {F['bubble'](8, 64):.0%} with 64",
    "small": f"1,000 GPUs would have {short(MODELS['GPT-2 124M'][-1] / 1000)} tokens each of GPT-2 124M's batch, half a window",
    "waiting": time(F["checkpoint"](70e9) / 2e9),
}


def flat(text):
    """Text without line breaks."""
    return " ".join(text.split())


@pytest.mark.parametrize("expected", [*rows()], ids=lambda expected: expected.split("|")[1].strip())
def test_each_row_of_numbers_is_what_the_formulas_give(expected):
    assert expected in PAGE.splitlines()


@pytest.mark.parametrize("name", SENTENCES)
def test_each_number_in_a_sentence_is_what_the_formulas_give(name):
    assert SENTENCES[name] in flat(PAGE)


def test_the_page_has_no_other_numbers():
    """Except the numbers of GPUs, the names of models, the memory of an H100, and the sixteen bytes and their parts."""
    body = PAGE[:PAGE.index("## Sources")].replace(BOX, "")
    text = flat("\n".join(line for line in body.splitlines() if line not in list(rows())))
    for sentence in SENTENCES.values():
        text = text.replace(sentence, "")
    known = r"GPT-2 124M|GPT-2 1.5B|\b70?B\b|\[\d+\]|FSDP2|H100 has 80 GB|float32|bfloat16"
    text = re.sub(r"(1|8|64|8, 64|64, 1,000|1,000) (\||GPUs?)|" + known, "", text)
    assert re.findall(r"\d[\d,.+ ]*", text) == ["16 ", "4 + 4 + 8, ", "2 + 4 + 2 + 8. ", "8 "]      # and stages of a pipeline
    assert 4 + 4 + 8 == 2 + 4 + 2 + 8 == F["state"](1)


def test_ddp_and_fsdp_send_the_same_and_recomputing_costs_a_third():
    assert all(F["ddp"](N, G) == pytest.approx(F["fsdp"](N, G)) for N, *_ in MODELS.values() for G in GPUS)
    assert (F["flops"](1, 1) + 2) / F["flops"](1, 1) == pytest.approx(4 / 3)


@pytest.mark.parametrize(("name", "heads"), [("GPT-2 124M", 12), ("GPT-2 1.5B", 25)])
def test_the_number_of_parameters_is_that_of_the_model(name, heads):
    N, L, C, _, _ = MODELS[name]
    with torch.device("meta"):
        model = GPTModel(GPT_CONFIG_124M | {"emb_dim": C, "n_heads": heads, "n_layers": L, "qkv_bias": True})
    model.out_head.weight = model.tok_emb.weight
    assert sum(weight.numel() for weight in model.parameters()) == N


def test_each_source_is_cited_and_each_citation_has_its_source():
    body, sources = PAGE.split("## Sources")
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", body)}
    assert cited == {int(number) for number in re.findall(r"^(\d+)\. ", sources, flags=re.M)}


def test_the_page_is_one_sheet():
    assert len(PAGE.splitlines()) <= 115 and max(map(len, PAGE.splitlines())) <= 145
