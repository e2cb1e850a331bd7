"""Break inputs as networks, old clients and attackers do. By a seed, so that hypothesis and a fuzzer can repeat it."""

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

_NUMBERS = (0, 1, 3, 4, 7, 127, 128, 255, 256, 4_096, 32_767, 32_768, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_LONG = (60, 300, 3_000)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        1.5,
        -0.0,
        2**31,
        2**63,
        10**30,
        float("inf"),
        "",
        "0",
        "x",
        "\x1b[31m",
        "\ud800",
        300 * "x",
    ),
    *([], [[]], {}, [0], [1, 2, 3], {"a": 1}, {"0": "male", "2": "female"}, {"-1": "x"}, 10**7),
)
"""Values of JSON, where something else is expected."""


def mutated(seed: int, seeds: Sequence[bytes], words: Sequence[bytes] = (), largest: int = 4_096) -> bytes:
    """Do up to eight things to one of some inputs."""
    chance = Random(seed)
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(200))
    data = bytearray(chance.choice(seeds))
    if chance.random() < 0.7 and (changed := _changed_json(bytes(data), chance)) is not None:
        data = bytearray(changed)
        if chance.random() < 0.7:
            return bytes(data[:largest])
    for _ in range(chance.randint(1, 8)):
        _mutate(data, chance, seeds, words)
        del data[largest:]
    return bytes(data)


def _mutate(data: bytearray, chance: Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    size = chance.choice((1, 1, 1, 2, 4, 8, chance.randint(1, 64)))
    match chance.randrange(11):
        case 0:
            data[at : at + 1] = bytes((chance.randrange(256),))
        case 1 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            del data[at : at + size]
        case 3:
            del data[at:]
        case 4:
            data[at:at] = chance.randbytes(size)
        case 5:
            width = chance.choice((1, 2, 2, 4, 8))
            order = chance.choice(("big", "big", "little"))
            data[at : at + width] = (chance.choice(_NUMBERS) % 256**width).to_bytes(width, order)
        case 6:
            to = chance.randrange(len(data) + 1)
            data[to:to] = data[at : at + size]
        case 7:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + size]
        case 8:
            data[at : at + 1] = data[at : at + 1] * chance.choice(_LONG)
        case _ if words:
            data[at : at + chance.choice((0, 0, size))] = chance.choice(words)
        case _:
            data[at : at + size] = bytes(size)


def _changed_json(data: bytes, chance: Random) -> bytes | None:
    """Change some values of a JSON object, which may begin at the second byte; None if there is no such object."""
    start = data.find(b"{", 0, 2)
    if start < 0:
        return None
    try:
        value = json.loads(data[start:])
    except (ValueError, RecursionError):
        return None
    for _ in range(chance.randint(1, 3)):
        _change(value, chance)
    return data[:start] + json.dumps(value).encode()


def _change(value: Any, chance: Random) -> None:
    """Change, drop or add a value somewhere in a JSON object or array."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = chance.choice(keys)
    inner = value[key]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.6:
        _change(inner, chance)
    elif chance.random() < 0.1:
        del value[key]
    elif isinstance(value, dict) and chance.random() < 0.1:
        value[chance.choice(("", "x", "0", f"{key}x"))] = value.pop(key)
    elif isinstance(inner, int | float) and chance.random() < 0.3:
        value[key] = chance.choice((inner + 1, -inner, inner * 1_000, inner / 2, str(inner)))
    else:
        value[key] = deepcopy(chance.choice(_VALUES))
