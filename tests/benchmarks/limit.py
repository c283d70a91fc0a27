"""What no float32 program can do without: the matrix products of the same work, alone, each into memory that is there."""
import time

import torch
import torch.nn.functional as F


def products_of_step(turns, cfg, batch_size):
    """A turn makes the products of one training step: for each layer forward, and backward for its input and its weight."""
    layers = [linear(turns.device, batch_size * cfg["context_length"], *shape) for shape in linears(cfg)]
    heads, t, width = batch_size * cfg["n_heads"], cfg["context_length"], cfg["emb_dim"] // cfg["n_heads"]
    q, k, v, out, d_q, d_k, d_v, d_out = torch.randn(8, heads, t, width, device=turns.device)
    weights, d_weights = torch.randn(2, heads, t, t, device=turns.device)
    while True:
        turns.next()
        for x, weight, y, _, _ in layers:
            torch.mm(x, weight.T, out=y)
        for _ in range(cfg["n_layers"]):
            torch.bmm(q, k.mT, out=weights)
            torch.bmm(weights, v, out=out)
            torch.bmm(weights.mT, d_out, out=d_v)
            torch.bmm(d_out, v.mT, out=d_weights)
            torch.bmm(d_weights, k, out=d_q)
            torch.bmm(d_weights.mT, q, out=d_k)
        for x, weight, y, d_x, d_weight in layers:
            torch.mm(y, weight, out=d_x)
            torch.mm(y.T, x, out=d_weight)
        d_weight[0, 0].item()      # on a GPU: wait


def products_of_sample(turns, cfg, tokens):
    """A turn multiplies one token's vector with every weight, once for each new token: memory has to be read that often.

    By the faster of PyTorch's two ways to do it here, its default and oneDNN's.
    """
    weights = [torch.randn(rows, columns, device=turns.device) for columns, rows in linears(cfg)]
    vectors = [torch.randn(weight.shape[1], device=turns.device) for weight in weights]
    ways = (torch.mv, onednn_mv) if turns.device.type == "cpu" else (torch.mv,)
    product = min(ways, key=lambda way: seconds(way, weights, vectors))
    while True:
        turns.next()
        for _ in range(tokens):
            for weight, vector in zip(weights, vectors, strict=True):
                last = product(weight, vector)
        last[0].item()


def onednn_mv(weight, vector):
    """torch.mv, made by oneDNN."""
    return F.linear(vector[None].to_mkldnn(), weight).to_dense()[0]


def seconds(way, weights, vectors):
    """How long one pass over all weights takes, the best of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for weight, vector in zip(weights, vectors, strict=True):
            way(weight, vector)
        times.append(time.perf_counter() - start)
    return min(times)


def linears(cfg):
    """(inputs, outputs) of every linear layer of a GPT of this configuration."""
    c = cfg["emb_dim"]
    return [(c, 3 * c), (c, c), (c, 4 * c), (4 * c, c)] * cfg["n_layers"] + [(c, cfg["vocab_size"])]


def linear(device, rows, inputs, outputs):
    """A layer's input, weight and output, and room for the gradients of the first two."""
    x, d_x = torch.randn(2, rows, inputs, device=device)
    weight, d_weight = torch.randn(2, outputs, inputs, device=device)
    return x, weight, torch.empty(rows, outputs, device=device), d_x, d_weight


def flops(cfg, batch_size):
    """Floating point operations of the products of one training step."""
    tokens = batch_size * cfg["context_length"]
    weights = sum(inputs * outputs for inputs, outputs in linears(cfg))
    return 6 * tokens * weights + 12 * tokens * cfg["context_length"] * cfg["emb_dim"] * cfg["n_layers"]


def bytes_read(cfg, tokens):
    """What sampling so many tokens reads of the linear layers' float32 weights, in bytes."""
    return 4 * tokens * sum(inputs * outputs for inputs, outputs in linears(cfg))
