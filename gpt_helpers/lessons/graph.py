"""Pictures of gradients: a graph with the numbers of every node, and how hard the loss pulls at each token of a text.

And the small GPT whose gradients lesson 03 finds in three ways.
"""
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, TextArea, VPacker
from matplotlib.patches import FancyArrowPatch, Patch

from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.plot import PALETTE, DescribedFigure, new_axes, show_table

VALUE, GRADIENT = PALETTE["train"], PALETTE["val"]
Place = tuple[float, float]
SIGNS = {"__add__": "+", "__mul__": "×"}


def draw_graph(end: Any, title: str, names: Mapping[str, Any]) -> DescribedFigure:
    """All nodes that `end` was made from, left to right, each with its value in blue and its gradient in orange-red.

    A node has `value` and `grad`, numbers or tensors, its `parents`, and `back`, as lesson 03 builds it. names: {name: node};
    nodes without a name are named after the function that made them. A tensor of more than six numbers is shown by its shape.
    """
    columns, labels = _columns(end), {id(node): name for name, node in names.items()}
    places = {}
    for x in range(max(columns.values()) + 1):
        stack = [node for node, column in columns.items() if column == x]
        places |= {node: (x, (len(stack) - 1) / 2 - i) for i, node in enumerate(stack)}
    last, rows = max(columns.values()), 2 * max(y for _, y in places.values()) + 1
    lines = 1 + max(_numbers(node.value).count("\n") + _numbers(node.grad).count("\n") + 2 for node in columns)
    bends = any(columns[node] - columns[parent] > 1 for node in columns for parent in node.parents)
    height = 0.7 + rows * (0.3 + 0.18 * lines) + 0.7 * bends
    figure, axes = new_axes(title, "", "", width=max(4.5, 1.7 * last + 1.7), height=height)
    axes.set(xlim=(-0.5, last + 0.5), ylim=(-rows / 2, rows / 2 + 0.6 * bends))
    axes.set_axis_off()
    words, boxes = [], {}
    for node, (x, y) in places.items():
        made_by = node.back.__qualname__.split(".<locals>")[0].split(".")[-1] if node.parents else ""
        made_by = SIGNS.get(made_by, made_by.replace("_", " "))
        name = labels.get(id(node), made_by)
        head = f"{name} ({made_by})" if made_by and name != made_by else name
        value, grad = _numbers(node.value), _numbers(node.grad)
        boxes[x, y] = _draw_box(axes, (x, y), head, value, grad)
        words.append(f"{head}: {value}, gradient {grad}".replace("\n", " "))
        for parent in dict.fromkeys(node.parents):
            _draw_edge(axes, boxes, places[parent], (x, y))
    return DescribedFigure(figure, title, "From left to right:\n" + "; ".join(words) + ".")


def _columns(end: Any) -> dict[Any, int]:
    """Each node's column, parents to the left of what is made from them, and inputs close to where they are used."""
    columns = {}

    def column(node: Any) -> int:
        if node not in columns:
            columns[node] = 1 + max(map(column, node.parents), default=-1)
        return columns[node]

    column(end)
    for node in columns:
        if not node.parents:
            columns[node] = min((columns[user] for user in columns if node in user.parents), default=1) - 1
    return columns


def _numbers(value: float | torch.Tensor) -> str:
    """The numbers of a small tensor, a row a line; of a large one the shape."""
    tensor = torch.as_tensor(value).detach()
    if tensor.numel() > 6:
        return "×".join(map(str, tensor.shape))
    rows = tensor.reshape(-1, tensor.shape[-1] if tensor.dim() else 1).tolist()
    return "\n".join("  ".join(f"{round(number, 3) + 0.0:.3f}".replace("-inf", "−∞").replace("-", "−") for number in row)
                     for row in rows)


def _draw_box(axes: Axes, place: Place, head: str, value: str, grad: str) -> Patch:
    parts = ((head, "#1a1a1a", "bold"), (value, VALUE, "normal"), (grad, GRADIENT, "normal"))
    text = VPacker(pad=0, sep=4, align="center", children=[
        TextArea(words, textprops={"color": colour, "weight": weight, "fontsize": 9, "multialignment": "right"})
        for words, colour, weight in parts])
    return axes.add_artist(AnnotationBbox(text, place, pad=0.6, bboxprops={"boxstyle": "round", "edgecolor": "#1a1a1a"})).patch


def _draw_edge(axes: Axes, boxes: Mapping[Place, Patch], tail: Place, head: Place) -> None:
    """The value's way from tail to head, and the gradient's way back."""
    bend = 0.0 if head[0] - tail[0] < 2 else 0.4                # around what lies between
    for (x0, y0), (x1, y1), colour, line, side, rad in ((tail, head, VALUE, "-", 0.05, -bend),
                                                        (head, tail, GRADIENT, "--", -0.05, bend * 0.8)):
        axes.add_patch(FancyArrowPatch(
            (x0, y0 + side), (x1, y1 + side), patchA=boxes[x0, y0], patchB=boxes[x1, y1], shrinkA=3, shrinkB=3, color=colour,
            linestyle=line, arrowstyle="-|>", mutation_scale=10, connectionstyle=f"arc3,rad={rad}", zorder=5))


@style.context("default")
def plot_pulls(tokens: list[str], models: Mapping[str, Iterable[float]]) -> DescribedFigure:
    """How hard the loss pulls at each token of a text under several models: a row of bars for each, p − y at the target.

    models: {name: p of each token}.
    """
    title = "The gradient at the right logit, p − y"
    figure, whole = new_axes("", "", "", width=9.0, height=1.7 * len(models) + 1.2)
    whole.remove()
    words = []
    for i, (name, probabilities) in enumerate(models.items(), start=1):
        pulls = [p - 1 for p in probabilities]
        axes = figure.add_subplot(len(models), 1, i, facecolor="none", ylim=(-1.05, 0.05), ylabel="p − y")
        axes.bar(range(len(pulls)), pulls, color=GRADIENT)
        axes.axhline(0, color=PALETTE["floor"], linewidth=0.8)
        names = tokens if i == len(models) else [""] * len(tokens)
        axes.set_xticks(range(len(tokens)), names, rotation=60, ha="right", parse_math=False)
        axes.set_title(title if i == 1 else "")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.annotate(name, (1, 0.5), (6, 0), xycoords="axes fraction", textcoords="offset points", color=GRADIENT, va="center")
        weak = ", ".join(f"“{token.strip()}” {pull:.2f}" for pull, token in sorted(zip(pulls, tokens, strict=True))[-3:][::-1])
        words.append(f"{name}, weakest at {weak}" if max(pulls) > -0.995 else f"{name}, −1.00 at every token")
    return DescribedFigure(figure, title, f"A bar for each token.\n{'; '.join(words)}.".replace("-", "−"))


def show_witnesses(found: Mapping[str, list[tuple[float, float, float]]], rows: Iterable[str], agreement: str) -> None:
    """A table of gradients found in three ways, for some of the tensors.

    found: {tensor: [(by hand, by autograd, wiggled), ...]}, largest first, which is the one shown. rows: the tensors to show.
    agreement: how closely all of them agree, in words.
    """
    lines = [[name, *(f"{slope:.6f}" for slope in found[name][0])] for name in rows]
    show_table(["largest gradient of", "by hand", "autograd", "wiggled"], lines,
               f"{len(lines)} of {len(found)} tensors are shown. All {len(found)} agree {agreement}.")


def gpt_for_gradients(seed: int) -> tuple[GPTModel, torch.Tensor, torch.Tensor]:
    """A GPT of 27 tensors in float64, small enough to wiggle, and a batch for it: (model, inputs, targets), (3, 8) ids each.

    All its weights are random; as PyTorch sets them, every gain would be 1 and every shift 0, and hide mistakes.
    """
    torch.manual_seed(seed)
    model = GPTModel(GPT_CONFIG_TINY | {"vocab_size": 100, "context_length": 8, "emb_dim": 16, "n_heads": 2,
                                        "drop_rate": 0.0}).double()
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    inputs, targets = torch.randint(100, (2, 3, 8))
    return model, inputs, targets
