"""Tiny random models, tokenizers and a tiny corpus, made in a folder: what the tests use instead of a hub.

Weights are drawn wide (not transformers' usual 0.02), so that a wrong mask or position moves a score by far more than the
tolerance of a test. Every maker takes the folder to fill and returns it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WORDS = {
    "en": ["the", "river", "city", "old", "bridge", "king", "built", "stone", "water", "north", "mountain", "winter", "song"],
    "de": ["der", "Fluss", "Stadt", "alte", "Brücke", "König", "baute", "Stein", "Wasser", "Norden", "Gebirge", "Winter"],
    "ru": ["река", "город", "старый", "мост", "король", "построил", "камень", "вода", "север", "гора", "зима"],
    "ar": ["النهر", "المدينة", "القديم", "الجسر", "الملك", "بنى", "الحجر", "الماء", "الشمال", "الجبل"],
    "hi": ["नदी", "शहर", "पुराना", "पुल", "राजा", "बनाया", "पत्थर", "पानी", "उत्तर", "पहाड़"],
    "zh": ["河流", "城市", "古老", "桥梁", "国王", "建造", "石头", "北方", "山脉", "冬天"],
    "th": ["แม่น้ำ", "เมือง", "เก่า", "สะพาน", "กษัตริย์", "สร้าง", "หิน", "น้ำ", "เหนือ"],
}
"""A few words in seven languages of six scripts; Chinese and Thai are written without spaces."""

_PROMPT = "Passage: Question in Please write a question based on this passage query: passage: . : ?"
_NAMES = "Arabic English German Russian Hindi Thai Chinese"
PROMPT_WORDS = [*_PROMPT.split(), *_NAMES.split()]


def sentence(rng: random.Random, lang: str, words: int) -> str:
    """Some words of a language, put together as it writes them."""
    return ("" if lang in ("zh", "th") else " ").join(rng.choice(WORDS[lang]) for _ in range(words))


# ---------------------------------------------------------------- tokenizers


def _words() -> list[str]:
    return list(dict.fromkeys([w for words in WORDS.values() for w in words] + PROMPT_WORDS))


def _letters() -> list[str]:
    return sorted({c for word in _words() for c in word} | set("abcdefghijklmnopqrstuvwxyz0123456789,;!'-\n{}"))


def unigram(bos: bool = True, eos: bool = False, padding_side: str = "right", length: int = 512) -> Any:
    """A Unigram tokenizer as Llama and T5 have one: half of the words whole, all letters, no byte fall-back.

    Arguments:
        bos: whether a text begins with `<s>`.
        eos: whether a text ends with `</s>`.
        padding_side: where its own padding would go.
        length: its `model_max_length`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    specials = ["<pad>", "</s>", "<unk>", "<s>"]
    pieces = [(s, 0.0) for s in specials] + [(c, -9.0) for c in ["▁", *_letters()]]
    pieces += [("▁" + w, -4.0) for w in _words()[::2]] + [(w, -5.0) for w in _words()[::3] if len(w) > 1]
    tokenizer = Tokenizer(models.Unigram(list(dict(pieces).items()), unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}", special_tokens=[("<s>", 3), ("</s>", 1)]
    )
    return _fast(tokenizer, padding_side, length, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>")


def byte_level(padding_side: str = "right", length: int = 512) -> Any:
    """A byte-level BPE as GPT-2 has one, with few merges and no special token around a text: a letter may be several tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "a"), ("e", "r"), ("t", "h"), ("th", "e"), ("i", "n"), ("Ø", "§"), ("Ù", "Ħ")]
    vocabulary = {piece: i for i, piece in enumerate(["<|endoftext|>", *alphabet, *("".join(m) for m in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    end = "<|endoftext|>"
    return _fast(tokenizer, padding_side, length, pad_token=end, eos_token=end, unk_token=end, bos_token=end)


def word_piece(length: int = 64, padding_side: str = "right") -> Any:
    """A WordPiece tokenizer as BERT has one: `[CLS] $A [SEP]`, half of the words whole, all letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, *_words()[::2], *_letters(), *("##" + c for c in _letters())]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return _fast(tokenizer, padding_side, length, **names)


def _fast(tokenizer: Any, padding_side: str, length: int, **names: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side=padding_side, model_max_length=length, clean_up_tokenization_spaces=False, **names
    )


# ---------------------------------------------------------------- models


def save(folder: Path, config: Any, tokenizer: Any, loader: str, seed: int, widen: float = 1.0) -> Path:
    """Draw a model from its configuration and save it with its tokenizer."""
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, loader).from_config(config) if loader.startswith("Auto") else getattr(transformers, loader)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)  # biases and norms too: none is exactly zero or one
                parameter *= widen
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def encoder(
    folder: Path, *, seed: int = 0, dimensions: int = 32, positions: int = 64, padding_side: str = "right", dropout: float = 0.1
) -> Path:
    """A BERT encoder: two layers, four heads. Its folder says neither pooling nor similarity."""
    from transformers import BertConfig

    tokenizer = word_piece(positions, padding_side)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=dimensions, num_hidden_layers=2, num_attention_heads=4, intermediate_size=2 * dimensions,
        max_position_embeddings=positions, pad_token_id=0, initializer_range=0.2,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    return save(folder, config, tokenizer, "BertModel", seed)


_SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3,
}  # fmt: skip


def llama(folder: Path, *, seed: int = 0, bos: bool = True, padding_side: str = "left", positions: int = 512) -> Path:
    """A Llama: rotary positions, full attention."""
    from transformers import LlamaConfig

    tokenizer = unigram(bos, padding_side=padding_side, length=positions)
    return save(
        folder, LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, **_SHAPE), tokenizer, "AutoModelForCausalLM", seed
    )


def gemma3(folder: Path, *, seed: int = 0, window: int = 16, bos: bool = True, positions: int = 512) -> Path:
    """A Gemma 3 text model: three layers, two of them with a sliding window."""
    from transformers import Gemma3TextConfig

    tokenizer = unigram(bos, length=positions)
    shape = _SHAPE | {"num_hidden_layers": 3}
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=positions, head_dim=8, query_pre_attn_scalar=8, sliding_window=window,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], **shape,
    )  # fmt: skip
    return save(folder, config, tokenizer, "AutoModelForCausalLM", seed)


def mistral(folder: Path, *, seed: int = 0, window: int = 16, bos: bool = True, positions: int = 512) -> Path:
    """A Mistral: the sliding window in every layer."""
    from transformers import MistralConfig

    tokenizer = unigram(bos, length=positions)
    config = MistralConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, sliding_window=window, **_SHAPE)
    return save(folder, config, tokenizer, "AutoModelForCausalLM", seed)


def gpt2(folder: Path, *, seed: int = 0, positions: int = 256, padding_side: str = "left") -> Path:
    """A GPT-2: learned positions, byte-level tokens, no beginning-of-text token."""
    from transformers import GPT2Config

    tokenizer = byte_level(padding_side, positions)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=positions,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    return save(folder, config, tokenizer, "AutoModelForCausalLM", seed)


def t5(folder: Path, *, seed: int = 0) -> Path:
    """A T5: relative positions, tied head, `</s>` after every text."""
    from transformers import T5Config

    return _t5(folder, T5Config, seed, feed_forward_proj="relu")


def mt5(folder: Path, *, seed: int = 0) -> Path:
    """An mT5: gated activation, head of its own."""
    from transformers import MT5Config

    return _t5(folder, MT5Config, seed, feed_forward_proj="gated-gelu")


def _t5(folder: Path, config: Any, seed: int, **options: Any) -> Path:
    tokenizer = unigram(bos=False, eos=True)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "initializer_factor": 1.0}
    made = config(vocab_size=len(tokenizer), decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **shape, **options)
    return save(folder, made, tokenizer, "AutoModelForSeq2SeqLM", seed)


Maker = Callable[..., Path]
CAUSAL: dict[str, Maker] = {"llama": llama, "gemma3": gemma3, "mistral": mistral, "gpt2": gpt2}
ENCODER_DECODER: dict[str, Maker] = {"t5": t5, "mt5": mt5}


# ---------------------------------------------------------------- corpus


@dataclass(frozen=True)
class TinyCorpus:
    """The files of a tiny corpus; as `--passages` and `--queries` take them."""

    passages: Path
    queries: Path


def tiny_corpus(
    folder: Path,
    passages: int = 12,
    queries: int = 8,
    langs: Sequence[str] = ("en", "de", "ru", "ar", "zh"),
    seed: int = 0,
    words: int = 12,
    titles: bool = True,
) -> TinyCorpus:
    """Write passages (DPR TSV: id, text, title) and questions (XOR-TyDi JSONL), language after language in turn.

    Arguments:
        folder: made where it is missing.
        passages: n; passage `pI`, every third without a title.
        queries: Q; question `qI`, made of words of passage `p(I mod n)` of its own language where there is one.
        langs: of both.
        seed: of the words.
        words: a passage, about.
        titles: whether passages have titles at all.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made = TinyCorpus(folder / "passages.tsv", folder / "queries.jsonl")
    lines = ["id\ttext\ttitle"]
    for i in range(passages):
        lang = langs[i % len(langs)]
        title = sentence(rng, lang, 2) if titles and i % 3 else ""
        lines.append(f"p{i}\t{sentence(rng, lang, rng.randint(words // 2, words + words // 2))}.\t{title}")
    made.passages.write_text("\n".join(lines) + "\n", encoding="utf-8")
    records = []
    for i in range(queries):
        lang = langs[i % len(langs)]
        records.append(
            {
                "id": f"q{i}",
                "question": sentence(rng, lang, rng.randint(2, 6)) + f" {i}?",
                "lang": lang,
                "answers": ["never read"],
                "split": "train",
            }
        )
    made.queries.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return made


def workspace(folder: Path, corpus: TinyCorpus, model: str = "no/encoder", lang: str | None = None) -> Any:
    """A work folder on a tiny corpus (`umr.data.workspace.Workspace`); the encoder is named, never loaded."""
    from umr.config import EncoderConfig
    from umr.data.workspace import create_workspace

    encoder_config = EncoderConfig(model=model, pooling="mean", similarity="cosine")
    return create_workspace(folder, [str(corpus.passages)], [str(corpus.queries)], encoder_config, lang)


def mined(work: Any, k: int = 4, number: int = 0, seed: int = 0, rows: Any = None) -> Any:
    """Pretend that a round was mined: `rows` [Q, k], or k random candidates a query, with falling scores. Returns the Candidates."""
    from umr.data.candidates import Candidates
    from umr.manifest import checksums, write_manifest

    rng = np.random.default_rng(seed)
    if rows is None:
        rows = np.stack([rng.permutation(len(work.passages))[:k] for _ in range(len(work.queries))])
    rows = np.ascontiguousarray(rows, dtype=np.uint32)
    scores = -np.sort(-rng.random(rows.shape).astype(np.float32), axis=1)
    candidates = Candidates(work.queries.ids(), list(work.queries.langs), rows, scores)
    place = work.layout.round(number)
    candidates.write(place.candidates, work.passages)
    if number > 0:  # pretend as well that the round before was trained
        write_manifest(work.layout.round(number - 1).trained, "train", {}, {"files": {}, "steps": 0, "validation": []})
    made_from = {"encoder": work.encoder_name(number)}
    contents = {"files": checksums(place.candidates), "config": {"top_k": rows.shape[1]}, "queries": len(rows)}
    write_manifest(place.mined, "mine", made_from, contents)
    return candidates


def change_manifest(path: Path, **changes: Any) -> None:
    """Write a manifest again with other contents, as umr itself would."""
    from umr.manifest import write_manifest

    value = json.loads(path.read_text(encoding="utf-8")) | changes
    contents = {key: one for key, one in value.items() if key not in ("format", "kind", "made_from", "digest")}
    write_manifest(path, value["kind"], value["made_from"], contents)


class Talk:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, message: str) -> None:
        """Keep a line of talk."""
        self.said.append(message)

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self.warned.append(message)

    @property
    def text(self) -> str:
        """Everything said, a line each."""
        return "\n".join(self.said)

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Any]:
        """A bar that nobody sees."""
        from umr.progress import Silent

        with Silent().bar(what, total, unit) as bar:
            yield bar
