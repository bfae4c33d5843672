"""What the rows of benches/gpu.py compute with: random models of true shapes, and real texts in a vocabulary made of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

from benches.parts.inputs import cache_folder, passages, queries


class Shapes(NamedTuple):
    """Sizes of one run: true ones, or such that a processor does all rows in a minute."""

    encoder: dict[str, Any]
    causal: dict[str, dict[str, Any]]
    mt5: dict[str, Any]
    length: int  # tokens of a text at most
    texts: int  # that are encoded
    shared: dict[str, int]  # passages that are labelled, by name of the shape
    loop: int  # pairs that the loop of the reference is timed on
    steps: int  # of training
    batch: int  # queries of a step
    search: tuple[int, int, int]  # passages, dimensions, queries
    round: int  # passages of the whole round


TRUE = Shapes(
    encoder={"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 250037},
    causal={
        "270m": {
            "hidden_size": 640, "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
            "intermediate_size": 2048, "vocab_size": 262144, "sliding_window": 512,
        },
        "4b": {
            "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "intermediate_size": 10240, "vocab_size": 262208, "sliding_window": 1024,
        },
    },
    mt5={"vocab_size": 250112, "d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    length=512, texts=60000, shared={"270m": 4000, "4b": 300, "mt5": 600},
    loop=64, steps=12, batch=64, search=(2_000_000, 768, 1000), round=1900,
)  # fmt: skip
TOY = Shapes(
    encoder={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 2000},
    causal={
        name: {
            "hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8,
            "intermediate_size": 64, "vocab_size": 2000, "sliding_window": 512,
        }
        for name in ("270m", "4b")
    },
    mt5={"vocab_size": 2000, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    length=48, texts=60, shared={"270m": 6, "4b": 6, "mt5": 6}, loop=8, steps=3, batch=4, search=(3000, 32, 40), round=40,
)  # fmt: skip


def texts(count: int) -> list[str]:
    """So many texts of passages, repeated where there are fewer."""
    own = [row["text"] for row in passages("train-small")]
    return [own[n % len(own)] for n in range(count)]


def tokenizer(size: int) -> Any:
    """A fast tokenizer whose vocabulary is made of the texts, with as many ids as they give, at most `size`; made once."""
    from transformers import PreTrainedTokenizerFast

    from umr.storage import beside

    file = cache_folder() / f"unigram-{size}.json"
    if not file.exists():
        with beside(file) as temporary:
            temporary.write_text(_trained(min(size, 20000)), encoding="utf-8")
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    build: Any = PreTrainedTokenizerFast
    return build(tokenizer_file=str(file), model_max_length=512, **names)


def _trained(size: int) -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    made: Any = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    trainer: Any = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(texts(size // 10) + [row["question"] for row in queries("train-small")], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return str(made.to_str())


def encoder_folder(shapes: Shapes, folder: Path) -> Path:
    """A folder with an XLM-R of random weights."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(0)
    build: Any = XLMRobertaModel
    config = XLMRobertaConfig(**shapes.encoder, max_position_embeddings=514, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    build(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer(shapes.encoder["vocab_size"]).save_pretrained(folder)
    return folder


def causal(shapes: Shapes, name: str, device: Any) -> Any:
    """A Gemma 3 of random bf16 weights, made on the device."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    sizes, build = shapes.causal[name], Gemma3ForCausalLM
    config: Any = Gemma3TextConfig(**sizes, max_position_embeddings=4096, query_pre_attn_scalar=sizes["head_dim"])
    with device:
        made: Any = build(config)
    torch.set_default_dtype(torch.float32)
    return made.train(False)


def mt5(shapes: Shapes, device: Any) -> Any:
    """An mT5 of random bf16 weights, made on the device."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    build: Any = MT5ForConditionalGeneration
    with device:
        made = build(MT5Config(**shapes.mt5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0))
    torch.set_default_dtype(torch.float32)
    return made.train(False)


def groups(count: int, sharing: int, vocabulary: int, length: int) -> list[tuple[list[int], list[list[int]]]]:
    """Token ids of so many passages in a prompt, each with so many queries drawn for it."""
    made, draw = tokenizer(vocabulary), random.Random(0)
    asked = made([" " + row["question"] for row in queries("train-small")], add_special_tokens=False)["input_ids"]
    sources = made([f"Passage: {text}\n\nQuestion in English:" for text in texts(count)], truncation=True, max_length=length)["input_ids"]
    return [(source, [draw.choice(asked) for _ in range(sharing)]) for source in sources]
