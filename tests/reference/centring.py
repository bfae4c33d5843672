"""Centring straight from its definition, one vector at a time in Python numbers: the slow twin of `umr.encoder.means`."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def mean(vectors: Sequence[Vector]) -> list[float]:
    """The mean vector, every sum rounded once."""
    return [math.fsum(values) / len(vectors) for values in zip(*vectors, strict=True)]


def centre(vector: Vector, middle: Vector, normalise: bool) -> list[float]:
    """The vector less the mean, of length 1 again where asked; a zero vector stays one."""
    moved = [a - b for a, b in zip(vector, middle, strict=True)]
    length = math.sqrt(math.fsum(a * a for a in moved)) if normalise else 1.0
    return [a / max(length, 1e-12) for a in moved]


def whiten(sides: Sequence[Sequence[Vector]], shrink: float, strength: float) -> list[list[float]]:
    """S^(-strength / 2) for the strengths 1 and 0.5, the inverse square root of S and the root of that, without eigenvalues."""
    d = len(sides[0][0])
    moment = [[mean([[math.fsum(v[i] * v[j] for v in side) / len(side)] for side in sides])[0] for j in range(d)] for i in range(d)]
    variance = math.fsum(moment[i][i] for i in range(d)) / d
    shrunk = [[(1 - shrink) * moment[i][j] + (shrink * variance if i == j else 0.0) for j in range(d)] for i in range(d)]
    inverse = _inverse_root(shrunk) if strength == 1 else _root(_inverse_root(shrunk))
    kept = math.fsum(_product(_product(inverse, moment), inverse)[i][i] for i in range(d))
    scale = math.sqrt(d * variance / kept)
    return [[scale * value for value in row] for row in inverse]


def _product(a: Sequence[Vector], b: Sequence[Vector]) -> list[list[float]]:
    return [[math.fsum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def _roots(matrix: Sequence[Vector]) -> tuple[list[list[float]], list[list[float]]]:
    """Square root and inverse square root of a positive matrix, by Newton and Schulz: Y -> Y (3 - Z Y) / 2, Z -> (3 - Z Y) Z / 2."""
    d = len(matrix)
    size = math.sqrt(math.fsum(value * value for row in matrix for value in row))
    y = [[value / size for value in row] for row in matrix]
    z = [[float(i == j) for j in range(d)] for i in range(d)]
    for _ in range(60):
        zy = _product(z, y)
        half = [[((3.0 if i == j else 0.0) - zy[i][j]) / 2 for j in range(d)] for i in range(d)]
        y, z = _product(y, half), _product(half, z)
    return [[value * math.sqrt(size) for value in row] for row in y], [[value / math.sqrt(size) for value in row] for row in z]


def _root(matrix: Sequence[Vector]) -> list[list[float]]:
    return _roots(matrix)[0]


def _inverse_root(matrix: Sequence[Vector]) -> list[list[float]]:
    return _roots(matrix)[1]


def means_by_language(vectors: Sequence[Vector], langs: Sequence[str], fewest: int) -> dict[str, list[float]]:
    """The mean of every language of at least `fewest` vectors."""
    by_lang = {lang: [v for v, of in zip(vectors, langs, strict=True) if of == lang] for lang in set(langs)}
    return {lang: mean(here) for lang, here in by_lang.items() if len(here) >= fewest}


def filled(own: dict[str, Vector], other: dict[str, Vector], over_all: Vector, over_all_other: Vector) -> dict[str, list[float]]:
    """The means of a side, and for languages that the other side alone has, that one moved by what lies between the sides."""
    both = [lang for lang in own if lang in other]
    pairs = [(own[lang], other[lang]) for lang in both] or [(over_all, over_all_other)]
    between = mean([[a - b for a, b in zip(one, two, strict=True)] for one, two in pairs])
    moved = {lang: [a + b for a, b in zip(vector, between, strict=True)] for lang, vector in other.items() if lang not in own}
    return {lang: list(vector) for lang, vector in own.items()} | moved


def centre_all(vectors: Sequence[Vector], langs: Sequence[str], fewest: int | None, normalise: bool) -> list[list[float]]:
    """Vectors centred with their own means: one a language, or (`fewest` None) one for all."""
    everything = mean(vectors)
    found = means_by_language(vectors, langs, fewest) if fewest is not None else {}
    return [centre(v, found.get(lang, everything), normalise) for v, lang in zip(vectors, langs, strict=True)]
