"""Fast tokenizers: loaded, and refused where a text could make one explode or where a token has no embedding."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from umr.errors import ModelError
from umr.models.loading import TOKENIZER, panicked, pretrained

LARGEST_FILE = 1 << 28  # bytes: ten times what 250,000 pieces take
MOST_GROWTH = 1 << 10  # characters that the rules of a tokenizer may make of one
CHARACTERS_A_TOKEN, LEAST_TOKENS = 128, 32  # as in rust/src/tokens/options.rs: what a text is cut to before it is tokenised
PART = 256  # texts that a thread tokenises at a time
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")  # tokens that texts may hold


def load_tokenizer(name: str, folder: Path) -> Any:
    """The fast tokenizer of a model.

    Arguments:
        name: the model as the user named it.
        folder: its files.

    Raises:
        ModelError: there is none, it needs a package that is not there, or its rules make far more of a text than it is.
    """
    from transformers import AutoTokenizer
    from transformers.utils.import_utils import is_protobuf_available, is_sentencepiece_available

    for file in (file for pattern in TOKENIZER for file in folder.glob(pattern)):
        if file.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{file} has {file.stat().st_size:,} bytes, expected {LARGEST_FILE:,} at most", "choose another model")
    readable = is_sentencepiece_available() and is_protobuf_available()
    if not (folder / "tokenizer.json").exists() and any(folder.glob("*.model")) and not readable:
        raise ModelError(
            f"{name} has no tokenizer.json: reading its SentencePiece model needs the packages sentencepiece and protobuf",
            "pip install sentencepiece protobuf",
        )
    tokenizer = pretrained(folder, AutoTokenizer)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{name} has no fast tokenizer",
            "convert it once: AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained(folder) writes tokenizer.json",
        )
    if tokenizer.split_special_tokens:
        raise ModelError(
            f"{name}: split_special_tokens in tokenizer_config.json is true, which umr does not honour", "choose another model"
        )
    backend = tokenizer.backend_tokenizer
    growth = _growth(_rules(backend.normalizer)) * _growth(_rules(backend.pre_tokenizer))
    if growth > MOST_GROWTH:
        raise ModelError(
            f"{folder / 'tokenizer.json'}: its rules make up to {growth:.3g} characters of one, expected {MOST_GROWTH} at most",
            "choose another model",
        )
    return tokenizer


def _rules(part: Any) -> dict[str, Any]:
    """A normalizer or a pre-tokenizer as tokenizer.json describes it."""
    return dict(json.loads(part.__getstate__())) if part is not None else {}


def _growth(rules: dict[str, Any]) -> float:
    """Characters that rules may make of one, at most."""
    own = {"Replace": len(rules.get("content", "")), "Prepend": len(rules.get("prepend", "")), "ByteLevel": 4}
    parts = rules.get("normalizers") or rules.get("pretokenizers") or []
    return math.prod(map(_growth, parts), start=float(max(1, own.get(rules.get("type", ""), 1))))


def lower_case(tokenizer: Any) -> None:
    """Have texts made lower case before the tokenizer's own rules, as `do_lower_case` of sentence-transformers does."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])])


def require_embeddings(name: str, tokenizer: Any, rows: int | None) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for.

    Marks of images and sounds, which a model of texts alone may lack, are taken out: texts hold them as any letters.

    Arguments:
        name: the model as the user named it.
        tokenizer: its fast tokenizer; changed in place.
        rows: of the embedding table; None where it is not known.

    Raises:
        ModelError: names both sizes and a token.
    """
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if rows is not None and number >= rows}
    if not beyond:
        return
    marks = {token for what, token in tokenizer.special_tokens_map.items() if what not in NAMED and isinstance(token, str)}
    wrong = sorted(number for number, token in beyond.items() if token not in marks)
    if wrong:
        raise ModelError(
            f"{name}: its tokenizer has tokens up to {max(beyond)} ({beyond[wrong[0]]!r} is {wrong[0]}), "
            f"its embedding table has {rows:,} rows, 0 to {rows - 1 if rows else 0}",
            "save the model after model.resize_token_embeddings(len(tokenizer)), or with the tokenizer that it was trained with",
        )
    from tokenizers import Tokenizer

    description = json.loads(tokenizer.backend_tokenizer.to_str())
    description["added_tokens"] = [token for token in description["added_tokens"] if token["id"] not in beyond]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(description))


def longest_text(tokens: int) -> int:
    """Characters of a text that are looked at where so many tokens of it can be used."""
    return CHARACTERS_A_TOKEN * max(tokens, LEAST_TOKENS)


def head(text: str, tokens: int) -> str:
    """The part of a text that so many tokens can come from, cut at white space in its second half where there is any."""
    bound = longest_text(tokens)
    if len(text) <= bound:
        return text
    words = text[bound // 2 : bound].rsplit(maxsplit=1)
    return text[: bound - len(words[1])] if len(words) > 1 else text[:bound]


def tokenised(tokenizer: Any, texts: str | list[str], **options: Any) -> Any:
    """What a tokenizer makes of texts.

    Raises:
        ModelError: its rules do not come to an end on one of them.
    """
    with _without_panic():
        return tokenizer(texts, **options)


def many_ids(tokenizer: Any, texts: Sequence[str], special: bool) -> Iterator[list[int]]:
    """The token ids of many texts, whole and without padding, made by as many threads as there are processors.

    Arguments:
        tokenizer: a fast tokenizer, which releases the interpreter while it works.
        texts: in any number.
        special: whether it puts its special tokens around each.

    Raises:
        ModelError: as `tokenised`.
    """
    tokenised(tokenizer, "")  # which settles that nothing is cut or padded, before threads share it
    encode = partial(tokenizer.backend_tokenizer.encode_batch_fast, add_special_tokens=special)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads, _without_panic():
        for encoded in threads.map(encode, [list(texts[at : at + PART]) for at in range(0, len(texts), PART)]):
            yield from (one.ids for one in encoded)


@contextmanager
def _without_panic() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not panicked(error):
            raise
        raise ModelError(
            "the tokenizer's rules do not come to an end on a text", "use another model, or mend its tokenizer.json"
        ) from error
