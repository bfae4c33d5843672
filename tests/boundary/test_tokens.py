from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from umr._rust import Counter, Records, TokenStore
from umr.errors import FormatError, InputError, MismatchError, StorageError, UsageError

from .conftest import rows

TEXTS = [
    ("Helsinki", "Helsinki is the capital of Finland, and its largest city by far."),
    ("", "No title here: just text, with numbers 1 2 3 and signs?!"),
    ("東京", "東京は日本の首都である。"),
    ("A very long title that goes on and on and on and on", "short"),
    ("Ünïcödé  spaces", "  leading and   double  spaces\tand tabs "),
    ("Bengali", "ঢাকা বাংলাদেশের রাজধানী"),
    ("emoji", "🙂 family 👨‍👩‍👧 and [SEP] in the text </s>"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def word_piece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return _trained(made, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False)
    return _trained(made, trainer)


def byte_bpe() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    return _trained(made, trainer)


def _trained(made: Tokenizer, trainer: Any) -> Tokenizer:
    made.train_from_iterator([part for pair in TEXTS for part in pair], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))],
    )
    # The store must ignore what the file itself says about both.
    made.enable_padding(length=64)
    made.enable_truncation(max_length=3)
    return made


@pytest.fixture(params=[word_piece, unigram, byte_bpe], ids=lambda make: make.__name__)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "tokenizer.json"
    request.param().save(str(path))
    return str(path)


def quote(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


@pytest.fixture
def records(tmp_path: Path) -> Records:
    path = tmp_path / "p.tsv"
    lines = [f"{row}\t{quote(text)}\t{quote(title)}\n" for row, (title, text) in enumerate(TEXTS)]
    path.write_text("".join(lines), encoding="utf-8")
    return Records.open([str(path)], "passages", str(tmp_path / "cache"))


def ids_of(store: TokenStore, row: int) -> list[int]:
    ids, mask = store.gather(rows(row), pad=-1)
    assert mask.all()
    return ids[0].tolist()  # type: ignore[no-any-return]


def expected(fast: Any, title: str, text: str, mode: str, length: int) -> list[int]:
    prefix = "passage: "
    options: dict[str, Any] = {"truncation": True, "max_length": length}
    if mode == "pair" and title:
        return list(fast(prefix + title, text, **options)["input_ids"])
    if mode == "text" and title:
        text = f"{title} {text}"
    return list(fast(prefix + text, **options)["input_ids"])


@pytest.mark.parametrize("length", [5, 8, 13, 400])
@pytest.mark.parametrize("mode", ["text", "pair", "none"])
def test_ids_equal_those_of_the_fast_tokenizer(records: Records, tokenizer: str, tmp_path: Path, mode: Any, length: int) -> None:
    store = build(records, tokenizer, tmp_path / "store", prefix="passage: ", title=mode, max_length=length)
    fast: Any = PreTrainedTokenizerFast(tokenizer_file=tokenizer)  # type: ignore[no-untyped-call]
    for row, (title, text) in enumerate(TEXTS):
        assert ids_of(store, row) == expected(fast, title, text, mode, length), (row, mode, length)


PARTS = [
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\u00a0",
    "\u3000",
    "\u200b",
    "e\u0301",
    "\u0301",
    "ﬁ",
    "Ａ",
    "▁",
    "[SEP]",
    "[MASK]",
    "word",
    *"aé東বাं!…🙂",
]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=20).map("".join), min_size=1, max_size=20))
def test_ids_of_any_text_equal_those_of_the_fast_tokenizer(
    tokenizer: str, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts = [f"a{text}" for text in texts]
    folder = tmp_path_factory.mktemp("any")
    records = Records.from_texts([str(row) for row in range(len(texts))], texts, [""] * len(texts))
    store = build(records, tokenizer, folder / "store", max_length=50)
    fast: Any = PreTrainedTokenizerFast(tokenizer_file=tokenizer)  # type: ignore[no-untyped-call]
    found = [ids_of(store, row) for row in range(len(texts))]
    assert found == fast(texts, truncation=True, max_length=50)["input_ids"]


def build(records: Records, tokenizer: str, folder: Path, **options: Any) -> TokenStore:
    defaults: dict[str, Any] = {"prefix": "", "title": "none", "max_length": 20}
    return TokenStore.build(records, tokenizer, str(folder), **(defaults | options))


def test_gathering_pads_on_the_right(records: Records, tokenizer: str, tmp_path: Path) -> None:
    counter = Counter()
    store = build(records, tokenizer, tmp_path / "store", counter=counter)
    assert counter.value == len(store) == len(TEXTS)
    ids, mask = store.gather(rows(3, 0, 3), pad=-7)
    assert ids.dtype == mask.dtype == np.int64
    lengths = store.lengths(rows(3, 0, 3)).tolist()
    assert ids.shape == mask.shape == (3, max(lengths))
    assert mask.sum(axis=1).tolist() == lengths
    assert (ids[mask == 0] == -7).all()
    assert ids[0][mask[0] == 1].tolist() == ids_of(store, 3)
    assert store.gather(rows(), pad=0)[0].shape == (0, 0)


def test_the_question_mark_goes_only_when_asked(tokenizer: str, tmp_path: Path) -> None:
    asked = Records.from_texts(["a", "b"], ["who is it ? ", "who is it"], ["", ""])
    kept = build(asked, tokenizer, tmp_path / "kept").lengths(rows(0, 1))
    dropped = build(asked, tokenizer, tmp_path / "dropped", strip_question_mark=True)
    assert kept[0] > kept[1]
    assert ids_of(dropped, 0) == ids_of(dropped, 1)


def test_the_same_store_is_opened_and_another_refused(records: Records, tokenizer: str, tmp_path: Path) -> None:
    first = build(records, tokenizer, tmp_path / "store")
    before = (tmp_path / "store" / "tokens.u32").stat().st_mtime_ns
    assert build(records, tokenizer, tmp_path / "store").fingerprint == first.fingerprint
    assert TokenStore.open(str(tmp_path / "store")).fingerprint == first.fingerprint
    assert (tmp_path / "store" / "tokens.u32").stat().st_mtime_ns == before
    with pytest.raises(MismatchError) as caught:
        build(records, tokenizer, tmp_path / "store", max_length=21)
    assert "store" in caught.value.message
    assert caught.value.hint


def test_torn_stores_and_bad_tokenizers_are_refused(records: Records, tokenizer: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(InputError, match="no token store"):
        TokenStore.open(str(store))
    build(records, tokenizer, store)
    tokens = store / "tokens.u32"
    tokens.write_bytes(tokens.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"tokens\.u32"):
        TokenStore.open(str(store))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(FormatError, match=r"bad\.json"):
        build(records, str(tmp_path / "bad.json"), tmp_path / "other")
    with pytest.raises(InputError, match="no such file"):
        build(records, str(tmp_path / "none.json"), tmp_path / "other")
    with pytest.raises(UsageError, match="max_length"):
        build(records, tokenizer, tmp_path / "other", max_length=2)
    with pytest.raises(UsageError, match="title"):
        build(records, tokenizer, tmp_path / "other", title="both")
