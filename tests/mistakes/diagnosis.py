"""Lesson 09: programs, right and wrong, that are written anew; the bugs of its tables are answers of their own."""
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gpt_checks.diagnosis import check_attention, check_batches, check_masked_loss, check_mean_loss, check_rate, check_update
from mistakes import clip_by_hand, right, wrong


# 9.1 an update
def an_update(clear=True, start=lambda loss: loss, clip=nn.utils.clip_grad_norm_, give=torch.Tensor.item):
    def update(model, optimizer, inputs, targets, max_norm):
        model.train()
        loss = F.cross_entropy(model(inputs).transpose(1, 2), targets)
        if clear:
            model.zero_grad()
        start(loss).backward()
        clip(model.parameters(), max_norm)
        optimizer.step()
        return give(loss)
    return update


right(check_update)(an_update(give=lambda loss: float(loss.detach())))
right(check_update)(an_update(clip=clip_by_hand, give=lambda loss: loss.detach()))
wrong(check_update, "gradients that are not clipped")(an_update(clip=lambda *some: None))
wrong(check_update, "the norm is clipped to 1,")(an_update(clip=lambda parameters, max_norm: clip_by_hand(list(parameters), 1.0)))
wrong(check_update, "the row of all weights, after the update,")(an_update(start=lambda loss: -loss))
wrong(check_update, "does not require grad")(an_update(start=lambda loss: loss.detach()))


wrong(check_update, "zero_grad() is missing before backward()")(
    lambda model, optimizer, *batch: (an_update(clear=False)(model, optimizer, *batch), optimizer.zero_grad())[0])


@wrong(check_update, "zero_grad() comes between backward() and step()")
def update_that_clears_before_the_step(model, optimizer, inputs, targets, max_norm):
    model.train()
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


@wrong(check_update, "step() comes before backward()")
def update_that_steps_first(model, optimizer, inputs, targets, max_norm):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    optimizer.step()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    return loss.item()


# 9.2 a loader
def chunks(ids, t, fill):
    """Rows of t ids, the last one filled up."""
    return torch.tensor([row + [fill] * (t - len(row)) for row in (part.tolist() for part in ids.split(t))])


def a_loader(ids, t, b, padding, ignored=-100, **options):
    return DataLoader(TensorDataset(chunks(ids[:-1], t, padding), chunks(ids[1:], t, ignored)), b, **options)


@right(check_batches)
def batches_cut_from_two_tables(ids, t, b, padding):
    n = -(-(len(ids) - 1) // t)
    inputs, targets = torch.full((n * t,), padding), torch.full((n * t,), -100)
    inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]
    return list(zip(inputs.view(n, t).split(b), targets.view(n, t).split(b), strict=True))


right(check_batches)(lambda *args: a_loader(*args))
wrong(check_batches, "the inputs are padded with -100")(lambda ids, t, b, p: a_loader(ids, t, b, -100, p))
wrong(check_batches, "the last batch, which is not full")(lambda *args: a_loader(*args, drop_last=True))
wrong(check_batches, "the list of the batches' sizes is")(lambda ids, t, b, p: a_loader(ids, t, 1, p))
wrong(check_batches, "happens to be `padding`")(lambda *args: [
    (x, y.masked_fill(y == args[-1], -100)) for x, y in a_loader(*args)])
wrong(check_batches, "the short window at the end of the text is left out")(
    lambda ids, t, *more: a_loader(ids[:-1] if len(ids) % t == 2 else ids, t, *more))
wrong(check_batches, "the list of inputs")(lambda ids, *sizes: a_loader(ids[:-1], *sizes))
wrong(check_batches, "a pair (inputs, targets)")(lambda ids, t, b, p: chunks(ids, t, p).split(b))


@wrong(check_batches, "the text's last token came in as an input")
def batches_with_the_last_token(ids, t, b, padding):
    inputs, targets = chunks(ids, t, padding), chunks(ids[1:], t, -100)
    return list(zip(inputs[: len(targets)].split(b), targets.split(b), strict=True))


# 9.3 attention
def an_attention(join=lambda heads: heads.transpose(1, 2).flatten(2), causal=True, scale=None):
    def attention(x, w_qkv, w_out, n_heads):
        q, k, v = (part.unflatten(2, (n_heads, -1)).transpose(1, 2) for part in (x @ w_qkv).chunk(3, dim=2))
        return join(F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)) @ w_out
    return attention


@right(check_attention)
def attention_as_a_module(x, w_qkv, w_out, n_heads):
    layer = nn.MultiheadAttention(x.shape[2], n_heads, bias=False, batch_first=True)
    layer.in_proj_weight.data, layer.out_proj.weight.data = w_qkv.T, w_out.T
    return layer(x, x, x, attn_mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]))[0]


@right(check_attention)
def attention_head_by_head(x, w_qkv, w_out, n_heads):
    out = []
    for q, k, v in zip(*(part.chunk(n_heads, dim=2) for part in (x @ w_qkv).chunk(3, dim=2)), strict=True):
        scores = (q @ k.mT / q.shape[2] ** 0.5).exp().tril()
        out.append(scores / scores.sum(-1, keepdim=True) @ v)
    return torch.cat(out, dim=2) @ w_out


right(check_attention)(an_attention())
wrong(check_attention, "not divided by the root", "; and", "the future is seen")(an_attention(causal=False, scale=1.0))
wrong(check_attention, "heads and positions are mixed")(an_attention(join=lambda x: x.flatten(1).unflatten(1, (x.shape[2], -1))))
wrong(check_attention, "has shape", "need shape")(an_attention(join=lambda heads: heads.transpose(1, 2).flatten(2)[:, 1:]))
wrong(check_attention, "a single head")(lambda *args: an_attention()(*args[:3], 1))
wrong(check_attention, "the output is wrong, most at place")(lambda *args: an_attention()(*args).square())
wrong(check_attention, "the output is nan")(lambda x, *weights: an_attention()(x, *weights) / 0 * 0)


@wrong(check_attention, "hides a token from itself")
def attention_with_a_mask_too_wide(x, w_qkv, w_out, n_heads):
    q, k, v = (part.unflatten(2, (n_heads, -1)).transpose(1, 2) for part in (x @ w_qkv).chunk(3, dim=2))
    scores = q @ k.mT / q.shape[3] ** 0.5 + torch.full((x.shape[1], x.shape[1]), -math.inf).triu()
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ w_out


# 9.4 an evaluation
def an_evaluation(mode=nn.Module.eval, back=nn.Module.train, mean="sum", count=lambda y: (y != -100).sum().item()):
    def mean_loss(model, loader):
        total, n, was = 0.0, 0, model.training
        mode(model)
        with torch.no_grad():
            for x, y in loader:
                total += F.cross_entropy(model(x).transpose(1, 2), y, reduction=mean).item()
                n += count(y)
        back(model, was)
        return total / n
    return mean_loss


@right(check_mean_loss)
@torch.inference_mode()
def mean_over_all_tokens(model, loader):
    was = model.training
    model.eval()
    losses = torch.cat([F.cross_entropy(model(x)[y != -100], y[y != -100], reduction="none") for x, y in loader])
    model.train(was)
    return losses.mean()


right(check_mean_loss)(an_evaluation())
wrong(check_mean_loss, "call model.eval()")(an_evaluation(mode=nn.Module.train))
wrong(check_mean_loss, "the model stays in eval() mode")(an_evaluation(back=lambda model, was: None))
wrong(check_mean_loss, "put back what it was")(an_evaluation(back=lambda model, was: model.train()))
wrong(check_mean_loss, "tokens of loss 0")(an_evaluation(count=torch.numel))
wrong(check_mean_loss, "the loss is")(an_evaluation(count=lambda y: (y > 0).sum().item()))
wrong(check_mean_loss, "without its weight", "; and", "number of batches")(an_evaluation(mean="mean", count=lambda y: 1))


# 9.5 a loss
def a_loss(change=lambda x: x, **options):
    return lambda logits, targets: F.cross_entropy(change(logits).transpose(1, 2), targets, **options)


@right(check_masked_loss)
def masked_loss_by_loops(logits, targets):
    rows = zip(logits.flatten(0, 1), targets.flatten().tolist(), strict=True)
    losses = [row.logsumexp(0) - row[y] for row, y in rows if y != -100]
    return sum(losses) / len(losses)


right(check_masked_loss)(a_loss())
right(check_masked_loss)(lambda x, y: F.nll_loss(x.log_softmax(2)[y >= 0], y[y >= 0]))
wrong(check_masked_loss, "token 0 is left out")(lambda x, y: a_loss(ignore_index=0)(x, y.clamp(min=0)))
wrong(check_masked_loss, "has shape")(a_loss(reduction="none"))
wrong(check_masked_loss, "without .item()")(lambda x, y: a_loss()(x, y).item())
wrong(check_masked_loss, "does not reach the logits")(lambda x, y: torch.tensor(a_loss()(x, y).item(), requires_grad=True))
wrong(check_masked_loss, "padding is scored as if it were token 0, and counted")(lambda x, y: a_loss()(x, y.clamp(min=0)))
wrong(check_masked_loss, "something was added to p")(lambda x, y: F.nll_loss((x.softmax(2)[y >= 0] + 1e-8).log(), y[y >= 0]))
wrong(check_masked_loss, "large logits", "infinite")(lambda x, y: (
    x.exp().sum(2).log()[y >= 0] - x[y >= 0].gather(1, y[y >= 0][:, None])[:, 0]).mean())
wrong(check_masked_loss, "mean of each window's mean")(lambda x, y: sum(map(a_loss(), x[:, None], y[:, None])) / len(y))
wrong(check_masked_loss, "index -100 is out of bounds")(lambda x, y: -x.log_softmax(2).gather(2, y[..., None]).mean())


# 9.6 a schedule
@right(check_rate)
def rate_of_pytorch(step, peak, warmup_steps, num_steps):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps - 1 - warmup_steps, eta_min=peak / 10)
    for _ in range(step - warmup_steps):
        optimizer.step()
        schedule.step()
    return schedule.get_last_lr()[0] * min(1, (step + 1) / warmup_steps)


@right(check_rate)
def rate_as_a_share(step, peak, warmup_steps, num_steps):
    done = max(step - warmup_steps, 0) / (num_steps - warmup_steps - 1)
    return min((step + 1) / warmup_steps, 0.55 + 0.45 * math.cos(done * math.pi)) * peak


wrong(check_rate, "in a straight line")(lambda s, p, w, n: p * min((s + 1) / w, 1 - 0.9 * (s - w) / (n - 1 - w)))
wrong(check_rate, "the list of rates")(lambda s, p, w, n: p * min((s + 1) / w, 1 - 0.9 * ((s - w) / (n - 1 - w)) ** 2))
wrong(check_rate, "step 0 gets a rate of 0")(lambda s, p, w, n: p * s / w if s < w else rate_as_a_share(s, p, w, n))
wrong(check_rate, "in the list of rates in the warm-up is")(lambda s, *sizes: 10 * rate_as_a_share(s, *sizes))
wrong(check_rate, "the rate goes above the peak")(lambda s, p, w, n: p * (s + 1) / w if s <= w else rate_as_a_share(s, p, w, n))
wrong(check_rate, "ZeroDivisionError")(lambda s, p, w, n: p / s)
