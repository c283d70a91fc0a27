"""Exercise 4.4: models with parameters of every kind, and in which of an answer's groups each of them stands."""
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from gpt_checks.core import Answer, NotYet, as_tensor, kind_fault, same, short, want_that


def types_of_layers(model):
    """{a parameter's id: the types of the layers that it belongs to}"""
    types = {}
    for layer in model.modules():
        for p in layer.parameters(recurse=False):
            types.setdefault(id(p), set()).add(type(layer))
    return types


def mixed_model(draw, shared):
    """A small model whose names mislead; shared: two layers have one table in common, and one parameter has no dimensions."""
    v, c = draw.randint(11, 14), draw.randint(7, 9)
    parts = {
        draw.choice(["tokens", "words"]): (table := nn.Embedding(v, c)),
        draw.choice(["bias_net", "unbiased"]): nn.Linear(c, c + 1),                     # a matrix that says bias
        draw.choice(["norm_ln_mix", "normal_ln"]): nn.Linear(2, 2),                     # one that says norm, with few numbers
        draw.choice(["score", "judge"]): nn.Linear(c, 1),                               # one of a single row
        draw.choice(["out", "head"]): (head := nn.Linear(c, v, bias=False)),
        draw.choice(["stack", "cube"]): nn.Parameter(torch.randn(2, 3, c)),
        draw.choice(["grid", "panel"]): nn.Parameter(torch.randn(3, 4)),
        draw.choice(["steady", "level", "even_out"]): nn.LayerNorm(c + 1),              # scales that do not say norm
        draw.choice(["calm", "settle"]): nn.LayerNorm(c),
        draw.choice(["gain", "weight_of_each"]): nn.Parameter(torch.randn(c)),
    }
    if shared:
        head.weight = table.weight
        parts[draw.choice(["temperature", "overall_weight"])] = nn.Parameter(torch.randn(()))
    model = nn.Module()
    for name in draw.sample(list(parts), len(parts)):
        setattr(model, name, parts[name])
    model.register_buffer("mask", torch.randn(4, 4))
    return model


def each_parameter(draw):
    """One parameter after the other, of two models: those without dimensions first, then the scales of LayerNorm."""
    for shared in (False, True):
        model, weight_decay, rows = mixed_model(draw, shared), round(draw.uniform(0.02, 0.09), 3), []
        types = types_of_layers(model)
        for name, p in model.named_parameters():
            scale = name.endswith("weight") and nn.LayerNorm in types[id(p)]
            words = f"`{name}`{', the scale of a LayerNorm' * scale} ({p.ndim} dimension{'s' * (p.ndim != 1)})"
            rows.append(((p.ndim, not scale), words, name))
        for _, words, name in sorted(rows):
            yield words, (model, weight_decay, name)


def place_of(answer, model, weight_decay, name):
    """The group into which an answer puts a parameter, in words; what is wrong with the groups themselves is told at once."""
    before = [p.detach().clone() for p in model.parameters()]
    try:
        groups = groups_of(answer(model, weight_decay), model)
    except NotYet as error:
        compares = "Boolean value of Tensor" in str(error) or "must match the size" in str(error)
        hint = " (`in`, == and .remove() compare tensors number by number; ask for p.ndim)" if compares else ""
        raise NotYet(f"{error}{hint}") from None
    want_that(all(map(torch.equal, before, model.parameters())), "the model's weights were changed; only sort them")
    found = [short(as_tensor(number).double().item()) for params, number in groups for p in params
             if p is model.get_parameter(name)]
    times = Counter(found)
    return " and ".join(f"the group with weight_decay {number}" + f", {n} times" * (n > 1) for number, n in times.items()) or \
        "neither group"


ONE_GROUP = '{"params": [...], "weight_decay": ...}'
NO_PARAMETERS = {      # what is found in their place: what it is called, and what is needed
    str: "names; need the tensors themselves", nn.Module: "layers; need their tensors",
    (tuple, list): "pairs (of name and tensor, as from named_parameters()) or lists; need the tensors alone"}


def groups_of(got, model):
    """The parameters and the weight_decay of each of the two groups of an answer."""
    want_that(got is not None, "None came back: is a `return` missing?")
    want_that(not isinstance(got, torch.optim.Optimizer), "an optimizer came back; need the list of groups that it takes")
    want_that(not isinstance(got, Mapping), f"one dict came back; need a list of two, each {ONE_GROUP}")
    groups = listed(got, "the result")
    for i, group in enumerate(groups, start=1):
        want_that(isinstance(group, Mapping), f"group {i} is of type {type(group).__name__}; need a dict, {ONE_GROUP}")
        for key, extra in (("params", ""), ("weight_decay", "; without it AdamW takes its own default, 0.01")):
            want_that(key in group, f'group {i} has no key "{key}"{extra} (its keys: {short(list(group))})')
        number = group["weight_decay"]
        want_that(number is not None, f'"weight_decay" of group {i} is None; what does not decay has 0')
        want_that(not (fault := kind_fault(number, 0.0)), f'"weight_decay" of group {i} {fault}')
    want_that(len(groups) == 2, f"the number of groups is {len(groups)}; need two: one that decays, and one that does not")
    return [(parameters_of(group["params"], f'"params" of group {i}', model), group["weight_decay"])
            for i, group in enumerate(groups, start=1)]


def parameters_of(value, what, model):
    """The parameters in a list, nothing else being there."""
    want_that(not isinstance(value, set | frozenset), f"{what} is a set; PyTorch needs a list")
    items = listed(value, what)
    for item in items:
        for types, words in NO_PARAMETERS.items():
            want_that(not isinstance(item, types), f"{what} holds {words}")
        want_that(isinstance(item, torch.Tensor), f"{what} holds a {type(item).__name__}; need tensors")
        if not any(item is p for p in model.parameters()):
            copies = [name for name, p in model.named_parameters() if same(item, p.detach(), 0, 0)]
            want_that(not copies, f"{what} holds a copy of `{''.join(copies[:1])}` (or .data, or state_dict's), which gets no "
                      "gradient; need the model's own parameters")
            raise NotYet(f"{what} holds a tensor of shape {tuple(item.shape)} that is no parameter of the model")
    return items


def listed(value, what):
    """The entries of a list, or of whatever else can be walked through."""
    if isinstance(value, str | bytes | torch.Tensor | Mapping) or not isinstance(value, Iterable):
        raise NotYet(f"{what} is of type {type(value).__name__}; need a list")
    return Answer(lambda: iter(value), what)()
