"""Observers: what an answer does, besides what it returns."""
import weakref

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from gpt_checks.core import same
from gpt_checks.spec import Facts


class FilledEmpty(TorchFunctionMode):
    """Within it torch.empty gives 77 everywhere, and not what happens to be in memory, so that a place never written shows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result.fill_(77) if func in (torch.empty, torch.empty_like, torch.Tensor.new_empty) else result


def with_filled_empty(answer, *args):
    with FilledEmpty():
        return answer(*args)


def watch_w(answer, f, w, eps):
    """How w is left, the slopes, and in what dtype f was called."""
    mine, dtypes = w.clone(), set()

    def watched(weights):
        given = tuple(weights.shape) if isinstance(weights, torch.Tensor) else f"an object of type {type(weights).__name__}"
        if given != tuple(w.shape):
            raise ValueError(f"f takes a tensor of the shape of w, {tuple(w.shape)}, with one number moved; it got {given}")
        dtypes.add(weights.dtype)
        return f(weights)

    slopes = answer(watched, mine, eps, may_change=(1,))      # w may be moved in place, and back
    ends = {"as it was": w, "eps too high": w + eps, "eps too low": w - eps}
    left = next((words for words, numbers in ends.items() if same(mine, numbers, 0, 1e-9)), "changed")
    return Facts({"w at the end": "the slopes" if slopes is mine else left, "the slope": slopes,
                  "the dtype": "float64" if dtypes <= {torch.float64} else "less than float64"})


class Graph:
    """Lives as long as the graph that it is part of; done: whether `backward` has passed."""

    done = False


class Pass(torch.autograd.Function):
    """Hands numbers through, and tells a Graph when the gradient comes back."""

    @staticmethod
    def forward(ctx, x, graph):
        ctx.graph = graph
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.graph.done = True
        return grad, None


class WatchedTables(nn.Module):
    """A model of two tables that notes how it is used.

    calls: how many; largest: the most sequences at once; overlap: whether a graph was built while another waited.
    """

    def __init__(self, table, head):
        super().__init__()
        self.table, self.head = nn.Parameter(table), nn.Parameter(head)
        self.calls, self.largest, self.overlap, self.graphs = 0, 0, False, []

    def forward(self, ids):                                   # (B, T) -> (B, T, V)
        waiting = [graph for ref in self.graphs if (graph := ref()) and not graph.done]
        self.calls, self.largest = self.calls + 1, max(self.largest, len(ids))
        self.overlap = self.overlap or bool(waiting and torch.is_grad_enabled())
        graph = Graph()
        self.graphs.append(weakref.ref(graph))
        return Pass.apply(self.table[ids] @ self.head.T, graph)


def watch_model(answer, table, head, old, batches):
    """How the answer leaves the weights, the gradient in one row, and what memory had to hold."""
    model = WatchedTables(table.clone(), head.clone())
    for p, grad in zip(model.parameters(), old, strict=True):
        p.grad = None if grad is None else grad.clone()

    def batch_loss(inputs, targets):
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), label_smoothing=0.1)

    answer(model, batches, batch_loss)
    stay = same(model.table, table, 1e-7, 0) and same(model.head, head, 1e-7, 0)
    grads = [p.grad for p in model.parameters()]
    missing = f"None, with {'a' if model.calls else 'no'} loss" if any(grad is None for grad in grads) else ""
    memory = ("a larger batch" if model.largest > max(len(x) for x, _ in batches) else
              "two graphs at a time" if model.overlap else "one graph at a time")
    return Facts({"the weights": "as they were" if stay else "moved",
                  "the gradient": missing or torch.cat([grad.flatten() for grad in grads]), "memory": memory})
