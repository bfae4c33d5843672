"""Memory follows what a row of tokens can hold, not how long a text is; a text within the bound is never cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from umr._rust import Records, TokenStore
from umr.config import LabelConfig
from umr.label.prompts.prompt import prompt_for
from umr.models.lm import find_lm
from umr.progress import Silent

BYTES = 48 << 20
MEASURED = """
import resource, sys
from umr._rust import Records, TokenStore
passages, tokenizer, folder = sys.argv[1:]
records = Records.open([passages], "passages", folder + "/cache")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = TokenStore.build(records, tokenizer, folder + "/store", prefix="", title="text", max_length=64)
assert store.lengths(__import__("numpy").arange(len(records), dtype="u4")).max() <= 64
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("letters", ["a", "the river ", "中"], ids=["one word", "words", "characters"])
def test_a_long_text_takes_no_more_than_a_few_times_its_size(tmp_path: Path, letters: str) -> None:
    """It took 39 times; what is left is the file's pages and the text without its escapes."""
    tokenizer = tiny.encoder(tmp_path / "model") / "tokenizer.json"
    passages = tmp_path / "p.jsonl"
    text = letters * (BYTES // len(letters.encode()))
    passages.write_text(json.dumps({"id": "p", "text": text}, ensure_ascii=False) + "\n")
    done = subprocess.run([sys.executable, "-c", MEASURED, passages, tokenizer, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4 * BYTES


def ids_of(folder: Path, tokenizer: Path, text: str, length: int) -> list[int]:
    records = Records.from_texts(["p"], [text], [""])
    store = TokenStore.build(records, str(tokenizer), str(folder), prefix="passage: ", title="none", max_length=length)
    ids, _ = store.gather(np.zeros(1, dtype=np.uint32), -1)
    return ids[0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [tiny.encoder, tiny.gpt2, tiny.llama])
@pytest.mark.parametrize("text", ["the river city ", "město ", "古老桥梁", "แม่น้ำเมือง", "x", "the\u3000old\n"])
def test_the_tokens_that_are_kept_are_those_of_the_whole_text(tmp_path: Path, make: Any, text: str) -> None:
    from transformers import AutoTokenizer

    folder = make(tmp_path / "model")
    whole = AutoTokenizer.from_pretrained(folder)
    for length in (8, 60):
        many = text * (40_000 // len(text))
        expected = whole("passage: " + many, truncation=True, max_length=length).input_ids
        if make is tiny.encoder and text == "x":
            expected = whole("passage: " + many[:5000], truncation=True, max_length=length).input_ids
        assert ids_of(tmp_path / str(length), folder / "tokenizer.json", many, length) == expected


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2, tiny.t5])
def test_a_prompt_takes_the_head_of_a_passage(tmp_path: Path, make: Any) -> None:
    prompt = prompt_for(find_lm(str(make(tmp_path / "lm")), Silent()), LabelConfig(lm="x", source_length=100))
    for letters in ("the river ", "x", "中"):
        long = letters * (10_000_000 // len(letters))
        assert len(prompt.fill("title", long, "en")) < 14_000
        short = long[:20_000]
        assert prompt.source_ids("title", long, "en", 100) == prompt.source_ids("title", short, "en", 100)
        assert len(prompt.source_ids("title", long, "en", 100)) <= 100
