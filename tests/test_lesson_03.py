"""Lesson 03 compares gradients in three ways, and so no layer can be wrong unnoticed."""
from pathlib import Path

import pytest
from lesson_runner import code_cells, run_cell

CELLS = dict(code_cells(Path(__file__).parent.parent / "notebooks" / "03_backprop.ipynb"))
NEEDED = ["imports", "node", "card", "linear", "gelu", "softmax", "loss", "layernorm", "embedding", "attention", "gpt", "model"]


def compare_with(cell="", line="", wrong=""):
    """Run the lesson up to its comparison, with one line of one cell replaced, and the cards not drawn."""
    namespace = {"__name__": "__main__"}
    for name in [*NEEDED, "compare"]:
        source = "\n".join(text for text in CELLS[name].splitlines() if not text.startswith("card("))
        assert name != cell or line in source
        run_cell(source.replace(line, wrong) if name == cell else source, namespace)
    return namespace


@pytest.mark.slow
def test_all_tensors_are_compared():
    assert len(compare_with()["found"]) == 27


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "line", "wrong"), [
    ("node", "parent.grad + d_parent", "d_parent"),
    ("linear", "torch.einsum", "2 * torch.einsum"),
    ("linear", "d_out.sum_to_size", "2 * d_out.sum_to_size"),
    ("gelu", "(1 - tanh_u**2)", "(1 - tanh_u)"),
    ("softmax", "d_out - (d_out * p).sum(-1, keepdim=True)", "d_out"),
    ("loss", " / targets.numel()", ""),
    ("layernorm", "dz = d_out * gain.value", "dz = d_out"),
    ("layernorm", "- z * mean(dz * z)", ""),
    ("embedding", "accumulate=True", "accumulate=False"),
    ("attention", "d_out.mT @ q.value / root", "d_out.mT @ q.value"),
    ("attention", "a.value.mT @ d_out", "-a.value.mT @ d_out"),
    ("gpt", "d_out.permute(1, 3, 0, 2, 4)", "d_out.permute(1, 3, 2, 0, 4)"),
])
def test_a_wrong_gradient_is_noticed(cell, line, wrong):
    with pytest.raises(AssertionError):
        compare_with(cell, line, wrong)
