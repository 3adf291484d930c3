"""river's models: made from a stream's settings, saved as plain data, restored without pickle.

A model is a tree of plain Python objects. It is taken apart as `copy` would (`object.__reduce_ex__`), into msgpack's
types, and put together again from the classes that a model of the same settings is made of, and from no others: what is
read back cannot name a class. What is not made of such classes is refused. Used by `opintel.health.river.plugged`.
"""

from __future__ import annotations

import collections
import copyreg
import functools
import importlib
import inspect
import math
import random
import re
import types
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import msgspec
import numpy as np

from opintel.extras import install

MAX_BYTES: Final = 64 * 1024
"""Of a model's state."""
FEATURE: Final = "value"
"""The name of the one feature that a model sees."""
LARGEST, MOST = 1_000_000, {"height": 15, "n_trees": 1000}
"""Whole-number parameters of a model, and some by name: a forest of 2^40 leaves would be planted at once."""
_NAME = re.compile(r"([a-z][a-z0-9_]*\.)+[A-Z][A-Za-z0-9]*")
_DEEPEST = 100
"""Objects inside each other."""
_PROBE = [1.5 + 0.5 * math.sin(2.4 * n) for n in range(64)]
"""What a model learns to show which classes it is made of: some appear with the first values only."""
_TYPES: Final = (collections.deque, collections.defaultdict, collections.OrderedDict, collections.Counter)
_NAMED: Final = (*_TYPES, functools.partial, bool, int, float, str, tuple, list, dict, set)
"""What a state may name outside river: containers, and the factories of `defaultdict`s."""


class _Tag(IntEnum):
    """First entry of the list that stands for what is not plain by itself."""

    LIST, TUPLE, DICT, SET, FROZEN, ARRAY, NUMBER, RANDOM, NAME, SAME, OBJECT = range(11)


class RiverKind:
    """Models of one class and one set of parameters.

    `model` is a dotted name below `river`. A parameter that is itself a model is written `{model: …, parameters: …}`; a
    list of steps is given under the name of the constructor's `*steps`. A random generator that has no seed of its own
    begins at seed 0. Raises ValueError, in words for the one who wrote it, where there is no such model, where it is no
    anomaly detector, and where its state cannot be saved.
    """

    def __init__(self, model: str, parameters: Mapping[str, Any]) -> None:
        self.model = model
        try:
            self.version = str(importlib.import_module("river").__version__)
        except ImportError:
            raise ValueError(f"{model}: river is not installed: {install('river')}") from None
        first = _made(model, parameters)
        if not (callable(getattr(first, "score_one", None)) and callable(getattr(first, "learn_one", None))):
            raise ValueError(f"{model} is no anomaly detector: it has no score_one and learn_one")
        self._supervised = bool(getattr(first, "_supervised", False))
        parts = _Parts()
        self._taken_apart(parts, first)
        for unseeded in parts.unseeded:
            unseeded.seed(0)
        self._names: dict[str, Any] | None = None  # until it is known, anything of river's may be named
        self._fresh = self.plain(first)
        self._names = parts.names
        for probe in _PROBE:
            try:
                self.learn(first, probe)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise ValueError(f"{model} cannot learn a single number: {error}") from error
        parts = _Parts()
        self._taken_apart(parts, first)
        self._names |= parts.names
        self.plain(first)

    def fresh(self) -> Any:
        """A model that has learned nothing."""
        return self.restored(self._fresh)

    def score(self, model: Any, value: float) -> float:
        """The model's score of a value that would come next."""
        return float(model.score_one({}, value) if self._supervised else model.score_one({FEATURE: value}))

    def learn(self, model: Any, value: float) -> None:
        """Lets the model learn a value."""
        if self._supervised:
            model.learn_one({}, value)
        else:
            model.learn_one({FEATURE: value})

    def plain(self, model: Any, most: float = MAX_BYTES) -> list[Any]:
        """The model's state in msgpack's types.

        ValueError that names the attribute where it holds anything else, or says that it is larger than `most` bytes.
        """
        parts = _Parts()
        root = self._taken_apart(parts, model)
        new = sorted(parts.names.keys() - self._names.keys()) if self._names is not None else []
        if new:
            raise ValueError(f"{self.model} has come to hold {new[0]}, which a model that begins does not")
        plain = [[[name, called, list(attributes)] for name, called, attributes in parts.shapes], root]
        size = len(msgspec.msgpack.encode(plain))
        if size > most:
            raise ValueError(f"{self.model} cannot be saved: a state of {size} bytes, at most {most} are kept")
        return plain

    def restored(self, plain: Any) -> Any:
        """The inverse of `plain`; ValueError for what is no state of this kind of model."""
        try:
            shapes, root = plain
            return _Whole(self._names or {}, shapes).value(root)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"not the state of a {self.model} of river {self.version}: {error}") from error

    def _taken_apart(self, parts: _Parts, model: Any) -> Any:
        try:
            return parts.plain(model)
        except ValueError as error:
            raise ValueError(f"{self.model} cannot be saved: its {error}") from error


@functools.lru_cache(64)
def _kind(model: str, parameters: bytes) -> RiverKind:
    return RiverKind(model, msgspec.msgpack.decode(parameters))


def river_kind(model: str, parameters: Mapping[str, Any]) -> RiverKind:
    """`RiverKind`, remembered: to make one costs some milliseconds."""
    return _kind(model, msgspec.msgpack.encode(parameters, order="deterministic"))


def _made(model: Any, parameters: Any) -> Any:
    """A new estimator."""
    if not isinstance(model, str) or not _NAME.fullmatch(model):
        raise ValueError(f"a model is a name such as anomaly.GaussianScorer, got {str(model)[:100]!r}")
    module, _, name = model.rpartition(".")
    try:
        kind = getattr(importlib.import_module(f"river.{module}"), name)
    except (ImportError, AttributeError):
        raise ValueError(f"river has no {model}") from None
    if not isinstance(kind, type) or not issubclass(kind, importlib.import_module("river.base").Base):
        raise ValueError(f"river's {model} is no model")
    if not isinstance(parameters, Mapping):
        raise ValueError(f"the parameters of {model} are a mapping, got {str(parameters)[:100]!r}")
    known = inspect.signature(kind).parameters
    unknown = sorted(map(str, parameters.keys() - known.keys()))
    if unknown:
        raise ValueError(f"{model} has no parameter {unknown[0]}; it has {', '.join(known) or 'none'}")
    for parameter, value in parameters.items():
        most = MOST.get(parameter, LARGEST)
        if isinstance(value, int) and abs(value) > most:
            raise ValueError(f"{model}: {parameter} is at most {most}, got {value}")
    given = {name: _parameter(value) for name, value in parameters.items()}
    several = [n for n, p in known.items() if p.kind is inspect.Parameter.VAR_POSITIONAL]
    positional = [value for name in several for value in given.pop(name, [])]
    try:
        return kind(*positional, **given)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{model}: {error}") from error


def _parameter(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "model" in value and value.keys() <= {"model", "parameters"}:
            return _made(value["model"], value.get("parameters", {}))
        return {name: _parameter(one) for name, one in value.items()}
    return [_parameter(one) for one in value] if isinstance(value, list) else value


class _Parts:
    """Takes one model apart. Objects are numbered in the order in which they are met: a later meeting is `SAME`."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        """Dotted name → the class or function that the state names."""
        self.shapes: dict[tuple[str, bool, tuple[str, ...]], int] = {}
        """(class, whether it is called, attributes) → its number: written once, not with each of a tree's nodes."""
        self.unseeded: list[random.Random] = []
        self._met: dict[int, tuple[int, Any]] = {}
        self._path: list[str] = []
        self._depth = 0

    def plain(self, value: Any) -> Any:
        """A value in msgpack's types."""
        kind = type(value)
        if value is None or kind in (bool, float, str, bytes):
            return value
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 63 else self._refuse("an integer beyond 64 bits")
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            return [_Tag.NAME, self._name(value)]
        if isinstance(value, np.generic):
            return [_Tag.NUMBER, *self._numbers(np.asarray(value))]
        if self._depth == _DEEPEST:
            self._refuse(f"more than {_DEEPEST} objects inside each other")
        self._depth += 1
        made = self._compound(value, kind)
        self._depth -= 1
        return made

    def _compound(self, value: Any, kind: type) -> list[Any]:
        if kind is tuple:
            return [_Tag.TUPLE, *map(self.plain, value)]
        if kind is frozenset:
            return [_Tag.FROZEN, *map(self.plain, sorted(value, key=repr))]
        if id(value) in self._met:
            return [_Tag.SAME, self._met[id(value)][0]]
        self._met[id(value)] = (len(self._met), value)  # the value too: its id stays its own
        if kind is list:
            return [_Tag.LIST, *map(self.plain, value)]
        if kind is dict:
            return [_Tag.DICT, *(self.plain(x) for pair in value.items() for x in pair)]
        if kind is set:
            return [_Tag.SET, *map(self.plain, sorted(value, key=repr))]
        if kind is np.ndarray:
            return [_Tag.ARRAY, *self._numbers(value)]
        if kind is random.Random:
            return [_Tag.RANDOM, *_random_state(value)]
        return self._object(value)

    def _object(self, value: Any) -> list[Any]:
        try:
            made, args, state, items, pairs = (*value.__reduce_ex__(2), None, None, None)[:5]
        except TypeError:
            self._refuse(f"a {_name_of(type(value))}, which is not plain data")
        called = made is not copyreg.__newobj__  # type: ignore[attr-defined]  # typeshed leaves it out
        if not called:
            made, *args = args
        if made is functools.partial:
            args, state = (value.func, *value.args), value.keywords or None
        # a state that is not the attributes needs the class's own code to be taken back
        taken: Any = type(value).__getstate__
        if (state is not None and taken is not object.__getstate__) or not isinstance(made, type):
            self._refuse(f"a {_name_of(type(value))}, which is not plain data")
        if isinstance(state, tuple) and len(state) == 2:
            state = {**(state[0] or {}), **(state[1] or {})}  # attributes, slots
        if state is not None and type(state) is not dict:
            self._refuse(f"a {_name_of(type(value))}, whose state is {_name_of(type(state))}")
        attributes: dict[str, Any] = state or {}
        self._note_unseeded(attributes)
        shape = (self._name(made), called, tuple(attributes))
        number = self.shapes.setdefault(shape, len(self.shapes))
        plain = [_Tag.OBJECT, number, list(map(self.plain, args)), self._attributes(attributes)]
        plain += [list(map(self.plain, items or ())), [self.plain(x) for pair in pairs or () for x in pair]]
        while not plain[-1] and len(plain) > 2:
            plain.pop()
        return plain

    def _attributes(self, attributes: Mapping[str, Any]) -> list[Any]:
        values = []
        for name, value in attributes.items():
            self._path.append(name)
            values.append(self.plain(value))
            self._path.pop()
        return values

    def _note_unseeded(self, attributes: Mapping[str, Any]) -> None:
        if attributes.get("seed") is None:
            self.unseeded += [x for x in attributes.values() if type(x) is random.Random]

    def _name(self, thing: Any) -> str:
        name = _name_of(thing)
        ours = name.startswith("river.") and "<" not in name
        if not ours and not any(thing is one for one in _NAMED):
            self._refuse(f"{name}, which is not plain data")
        if self.names.setdefault(name, thing) is not thing:
            self._refuse(f"two things of the name {name}")
        return name

    def _numbers(self, array: Any) -> tuple[str, list[int], bytes]:
        if array.dtype.kind not in "biufc":
            self._refuse(f"an array of {array.dtype}")
        return array.dtype.str, list(array.shape), array.tobytes()

    def _refuse(self, what: str) -> Any:
        raise ValueError(f"{'.'.join(self._path) or 'object'} is {what}")


class _Whole:
    """Puts one model together from what `_Parts` made of it; raises whatever does not fit."""

    def __init__(self, names: Mapping[str, Any], shapes: list[Any]) -> None:
        self._names, self._shapes = names, shapes
        self._met: list[Any] = []

    def value(self, plain: Any) -> Any:
        """The value that this was."""
        if not isinstance(plain, list):
            return plain
        tag, *rest = plain
        if tag == _Tag.TUPLE:
            return tuple(map(self.value, rest))
        if tag == _Tag.FROZEN:
            return frozenset(map(self.value, rest))
        if tag == _Tag.NAME:
            return self._named(*rest)
        if tag == _Tag.NUMBER:
            return _array(*rest)[()]
        if tag == _Tag.SAME:
            return self._met[rest[0]]
        number = len(self._met)
        self._met.append(None)
        if tag == _Tag.OBJECT:
            return self._object(number, *rest)
        if tag == _Tag.ARRAY:
            self._met[number] = _array(*rest)
        elif tag == _Tag.RANDOM:
            self._met[number] = _random(*rest)
        elif tag == _Tag.LIST:
            self._met[number] = filled = list[Any]()
            filled += map(self.value, rest)
        elif tag == _Tag.SET:
            self._met[number] = set(map(self.value, rest))
        elif tag == _Tag.DICT:
            self._met[number] = pairs = dict[Any, Any]()
            pairs.update(self._pairs(rest))
        else:
            raise ValueError(f"unknown tag {tag!r}")
        return self._met[number]

    def _object(
        self,
        number: int,
        shape: int,
        args: list[Any] | None = None,
        values: list[Any] | None = None,
        items: list[Any] | None = None,
        pairs: list[Any] | None = None,
    ) -> Any:
        name, called, attributes = self._shapes[shape]
        made, given = self._named(name), map(self.value, args or ())
        found = made(*given) if called else made.__new__(made, *given)
        self._met[number] = found
        for attribute, value in zip(attributes, values or (), strict=True):
            object.__setattr__(found, attribute, self.value(value))
        if items:
            found.extend(map(self.value, items))
        if pairs:
            found.update(self._pairs(pairs))
        return found

    def _named(self, name: str) -> Any:
        if name not in self._names:
            raise ValueError(f"it names {str(name)[:100]}, which is no part of it")
        return self._names[name]

    def _pairs(self, flat: list[Any]) -> list[tuple[Any, Any]]:
        values = list(map(self.value, flat))
        return list(zip(values[::2], values[1::2], strict=True))


def _name_of(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _random_state(generator: random.Random) -> list[Any]:
    """Empty where it is as a generator of seed 0 begins: most are never used."""
    state = generator.getstate()
    if state == random.Random(0).getstate():
        return []
    version, words, gauss = state
    return [version, np.array(words, dtype="<u4").tobytes(), gauss]


def _random(version: int = 0, words: bytes = b"", gauss: float | None = None) -> random.Random:
    generator = random.Random(0)
    if words:
        generator.setstate((version, tuple(np.frombuffer(words, dtype="<u4").tolist()), gauss))
    return generator


def _array(dtype: str, shape: list[int], data: bytes) -> Any:
    if np.dtype(dtype).kind not in "biufc":
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()
