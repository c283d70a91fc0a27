"""Values as plain data: what travels between a student's function, which nobody trusts, and the check that judges it.

What is read becomes a number, a text, a tensor, or a container of these; anything else becomes a Thing, which knows the name of
its type and how it was shown, and can do nothing. No class is looked up by its name, and no code runs.
"""
import base64
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from numbers import Real
from types import FunctionType, MethodType, ModuleType

import numpy as np
import torch

from gpt_checks.core import generator, short

LARGEST = 64 * 2**20      # bytes of a message
MANY = 100_000            # parts of what can be walked through
DTYPES = {str(dtype): dtype for dtype in (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
    torch.float64, torch.complex64, torch.complex128)}


def frame(message):
    """A message as bytes, its length first."""
    data = json.dumps(message).encode()
    return len(data).to_bytes(8, "big") + data


def read(get):
    """The next message; get(n): n bytes, or fewer where they end. EOFError at the end, ValueError for what is no message."""
    if (size := int.from_bytes(whole(get, 8), "big")) > LARGEST:
        raise ValueError(f"a message of {size:,} bytes; at most {LARGEST:,} are read")
    return json.loads(whole(get, size))


def whole(get, size):
    if len(data := get(size)) < size:
        raise EOFError
    return data


def text_of(data):
    return base64.b64encode(data).decode()


def bytes_of(text):
    return bytearray(base64.b64decode(text))


# Writing: pack(value) has the form of JSON. A list is [kind, what it takes to make it].

def pack(value, known=()):
    """A value as plain data. known: {id: number} of what the other side has, too, so that its number is enough."""
    if id(value) in known:
        return ["known", known[id(value)]]
    if value is None or type(value) in (bool, str, float):
        return value
    try:
        return next(write(value, known) for types, write in WRITERS.items() if isinstance(value, types))
    except RecursionError:
        raise
    except Exception:      # an object that fails when it is asked for its parts
        return as_thing(value, known, parts=False)


def numbered(things):
    """{id, or place in memory: number} of things, {number: thing}."""
    known = {id(thing): number for number, thing in things.items()}
    return known | {place(thing): number for number, thing in things.items() if isinstance(thing, torch.Tensor)}


def place(tensor):
    """Where a tensor's numbers are, so that p and p.detach(), which share them, are told from a copy."""
    if tensor.is_meta or tensor.layout != torch.strided or not tensor.numel():
        return id(tensor)
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride()


def pack_tensor(tensor):
    """A tensor's numbers and whether it has a graph, or will have one; for odd layouts and devices the shape has to do."""
    flat = tensor.detach()
    if flat.is_meta or flat.layout != torch.strided or str(flat.dtype) not in DTYPES:
        return ["odd tensor", list(flat.shape), "meta" if flat.is_meta else "sparse"]
    numbers = flat.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = text_of(numbers.view(torch.uint8).numpy().tobytes()) if len(numbers) else ""
    return ["tensor", str(flat.dtype), list(flat.shape), data, tensor.requires_grad]


def pack_all(kind):
    """How a container is written, part by part."""
    return lambda value, known: [kind, [pack(part, known) for part in islice(value, MANY)]]


def as_thing(value, known=(), parts=True):
    """The name of its type, how it is shown, what it counts as, and its parts, if it can be walked through."""
    counts = next((name for name, base in BASES.items() if isinstance(value, base)), "")
    walk = parts and not counts and isinstance(value, Iterable) and not isinstance(value, type)
    try:
        shown = short(value)
    except Exception:
        shown = "an object that cannot be shown"
    return ["thing", type(value).__name__, shown, counts, [pack(part, known) for part in islice(value, MANY)] if walk else None]


BASES = {"layers": torch.nn.Module, "optimizer": torch.optim.Optimizer}
WRITERS = {      # the first that fits
    torch.Tensor: lambda value, known: (
        ["same numbers", known[place(value)]] if not value.requires_grad and place(value) in known else pack_tensor(value)),
    (np.ndarray, np.generic): lambda value, known: (
        ["array", value.dtype.str, list(value.shape), isinstance(value, np.generic), text_of(value.tobytes())]
        if value.dtype.kind in "biufc" else as_thing(value, known)),
    int: lambda value, known: ["int", hex(value)],
    Real: lambda value, known: float(value),
    str: lambda value, known: str.__str__(value),
    complex: lambda value, known: ["complex", value.real, value.imag],
    bytes: lambda value, known: ["bytes", text_of(value)],
    torch.dtype: lambda value, known: ["dtype", str(value)],
    range: lambda value, known: ["range", value.start, value.stop, value.step],
    Mapping: lambda value, known: [
        "dict", [[pack(key, known), pack(part, known)] for key, part in islice(value.items(), MANY)]],
    generator: pack_all("generator"), list: pack_all("list"), tuple: pack_all("tuple"), (set, frozenset): pack_all("set"),
    object: as_thing,
}


# Reading.

class Thing:
    """What stands for an object that cannot travel."""

    def __repr__(self):
        return self.shown


class Row(Thing):
    """One that can be walked through."""

    def __iter__(self):
        return iter(self.parts)


def unpack(data, known=()):
    """The value that pack made data of; known: what the numbers stand for. An error of some kind where data are forged."""
    if not isinstance(data, list):
        return data
    kind, *rest = data
    if kind == "known":
        return known[rest[0]]
    return READERS[kind](*rest, lambda part: unpack(part, known))


def unpack_tensor(dtype, shape, data, requires_grad, _=None):
    numbers = torch.frombuffer(bytes_of(data), dtype=DTYPES[dtype]) if data else torch.empty(0, dtype=DTYPES[dtype])
    return numbers.clone().reshape(shape).requires_grad_(requires_grad)


def unpack_odd_tensor(shape, kind, _):
    return torch.empty(shape, device="meta") if kind == "meta" else torch.sparse_coo_tensor(size=tuple(shape))


def unpack_array(dtype, shape, single, data, _):
    if np.dtype(dtype).kind not in "biufc":
        raise ValueError(f"an array of {dtype}")
    array = np.frombuffer(bytes_of(data), dtype).reshape(shape)
    return array[()] if single else array


def unpack_thing(name, shown, counts, parts, inner):
    base = BASES.get(counts, Thing if parts is None else Row)
    thing = type(str(name), (base,), {"__repr__": lambda self: str(shown)})
    thing = thing.__new__(thing)
    if counts == "layers":
        torch.nn.Module.__init__(thing)
    elif parts is not None:
        thing.parts = [inner(part) for part in parts]
    return thing


READERS = {
    "same numbers": lambda number, inner: inner(["known", number]).detach(),
    "tensor": unpack_tensor, "odd tensor": unpack_odd_tensor, "array": unpack_array, "thing": unpack_thing,
    "int": lambda text, _: int(text, 16),
    "complex": lambda real, imag, _: complex(real, imag),
    "bytes": lambda text, _: bytes(bytes_of(text)),
    "dtype": lambda name, _: DTYPES[name],
    "range": lambda start, stop, step, _: range(start, stop, step),
    "dict": lambda pairs, inner: {inner(key): inner(part) for key, part in pairs},
    "generator": lambda parts, inner: generator(map(inner, parts)),
    "list": lambda parts, inner: list(map(inner, parts)),
    "tuple": lambda parts, inner: tuple(map(inner, parts)),
    "set": lambda parts, inner: set(map(inner, parts)),
}


# What a function may change in its arguments. Both sides have it; what it has become is sent back.

def changeable(value, found=None):
    """Everything that can be reached from a value and changed in place, each once: containers, objects and tensors."""
    found = {} if found is None else found
    if id(value) in found or isinstance(value, type | ModuleType | str | bytes):
        return found
    if isinstance(value, FunctionType):
        inside = [*(cell.cell_contents for cell in value.__closure__ or ()), *(value.__defaults__ or ())]
    elif isinstance(value, MethodType):
        inside = [value.__self__]
    elif isinstance(value, tuple):
        inside = value
    elif isinstance(value, torch.Tensor):
        found[id(value)], inside = value, [value.grad] if value.is_leaf and value.grad is not None else []
    elif isinstance(value, list | set | dict) or hasattr(value, "__dict__"):
        found[id(value)] = value
        inside = [*(value.values() if isinstance(value, dict) else value if isinstance(value, list | set) else ()),
                  *getattr(value, "__dict__", {}).values()]
    else:
        return found
    for part in inside:
        changeable(part, found)
    return found


def state(value, known):
    """What a changeable thing is now, as plain data."""
    if isinstance(value, torch.Tensor):
        return [pack_tensor(value), pack(value.grad, known) if value.is_leaf else None]
    held = dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list | set) else None
    return [pack(held, known), pack(dict(vars(value)), known) if hasattr(value, "__dict__") else None]


def put(value, became, known):
    """Make a changeable thing what it has become; what cannot travel stays as it was."""
    held, more = became
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.data = unpack(held).detach()
            value.grad = unpack(more, known)
        if value.requires_grad != held[-1]:
            value.requires_grad_(held[-1])
        return
    if isinstance(value, dict):
        put_items(value, held, known)
    elif held is not None and not has_things(held):
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(unpack(held, known))
    if more is not None:
        names = set(vars(value))
        put_items(vars(value), [more[0], [[name, part] for name, part in more[1] if name in names]], known)


def put_items(items, packed, known):
    """Bring a dict up to date, in place."""
    pairs = [(unpack(key, known), part) for key, part in packed[1]]
    new = {key: items.get(key) if has_things(part) else unpack(part, known) for key, part in pairs}
    items.clear()
    items.update(new)


def has_things(packed):
    """Whether there is something among plain data that could not travel."""
    return isinstance(packed, list) and (packed[:1] == ["thing"] or any(map(has_things, packed)))
