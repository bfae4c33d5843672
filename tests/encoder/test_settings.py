"""Where an encoder's settings come from: its own files, its family, the user; and what is refused instead of guessed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from umr.config import EncoderConfig
from umr.encoder.settings import EncoderSettings, resolve_settings
from umr.errors import InputError

BERT = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512}
OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules."


def folder_of(tmp_path: Path, files: dict[str, Any]) -> Path:
    """A model folder of JSON files alone; settings need no weights."""
    for name, value in ({"config.json": BERT} | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    return tmp_path


def resolved(folder: Path, name: str = "", **options: Any) -> tuple[EncoderSettings, str]:
    return resolve_settings(EncoderConfig(model=name or str(folder), **options), name or str(folder), folder)


@pytest.mark.parametrize(
    "name",
    ["intfloat/multilingual-e5-small", "intfloat/e5-base-v2", "pypi:multilingual-e5-small", "/models/e5-large/", "multilingual-e5-large"],
)
def test_e5_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    found, source = resolved(folder_of(tmp_path, {}), name)
    assert (found.pooling, found.similarity, found.query_prefix, found.passage_prefix) == ("mean", "cosine", "query: ", "passage: ")
    assert (found.title, found.query_length, found.passage_length) == ("text", 512, 512)
    assert source == "the E5 family"


@pytest.mark.parametrize(
    "name", ["intfloat/multilingual-e5-large-instruct", "intfloat/e5-mistral-7b-instruct", "me/notme5-small", "bert-base-uncased"]
)
def test_what_is_not_known_is_not_guessed(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="does not say its pooling and similarity") as caught:
        resolved(folder_of(tmp_path, {}), name)
    assert name in caught.value.message
    assert "--pooling" in caught.value.hint
    assert "--similarity" in caught.value.hint
    with pytest.raises(InputError, match="does not say its similarity"):
        resolved(folder_of(tmp_path, {}), name, pooling="cls")
    found, source = resolved(folder_of(tmp_path, {}), name, pooling="cls", similarity="dot")
    assert (found.pooling, found.similarity, found.query_prefix, source) == ("cls", "dot", "", "set by you")


def test_contriever_and_dpr_are_known_by_their_architecture(tmp_path: Path) -> None:
    contriever, source = resolved(folder_of(tmp_path / "c", {"config.json": BERT | {"architectures": ["Contriever"]}}))
    assert (contriever.pooling, contriever.similarity, contriever.title) == ("mean", "dot", "text")
    assert "Contriever" in source
    for architecture in ("DPRQuestionEncoder", "DPRContextEncoder"):
        dpr, source = resolved(folder_of(tmp_path / architecture, {"config.json": BERT | {"architectures": [architecture]}}))
        assert (dpr.pooling, dpr.similarity, dpr.title, dpr.query_length) == ("cls", "dot", "pair", 256)
        assert "DPR" in source


def modules(prefix: str, *kinds: str) -> list[dict[str, Any]]:
    return [{"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": prefix + kind} for i, kind in enumerate(kinds)]


OLD_POOLING = {
    "word_embedding_dimension": 8,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
}


def test_the_old_sentence_transformers_layout(tmp_path: Path) -> None:
    files = {
        "modules.json": modules(OLD, "Transformer", "Pooling", "Normalize"),
        "1_Pooling/config.json": OLD_POOLING,
        "sentence_bert_config.json": {"max_seq_length": 128},
        "config_sentence_transformers.json": {"prompts": {"query": "q: ", "document": "d: "}},
    }
    found, source = resolved(folder_of(tmp_path, files))
    assert found == EncoderSettings("mean", "cosine", "q: ", "d: ", "text", 128, 128, False)
    assert "sentence-transformers" in source


@pytest.mark.parametrize(("mode", "pooling"), [("mean", "mean"), ("cls", "cls"), ("lasttoken", "last"), (["cls"], "cls")])
def test_the_newer_sentence_transformers_layout(tmp_path: Path, mode: Any, pooling: str) -> None:
    files = {
        "modules.json": modules(NEW, "Transformer", "Pooling"),
        "1_Pooling/config.json": {"embedding_dimension": 8, "pooling_mode": mode},
        "config_sentence_transformers.json": {"similarity_fn_name": "dot"},
    }
    found, _ = resolved(folder_of(tmp_path, files))
    assert (found.pooling, found.similarity) == (pooling, "dot")


@pytest.mark.parametrize(
    "pooling",
    [{"pooling_mode": ["mean", "cls"]}, {"pooling_mode": "max"}, OLD_POOLING | {"pooling_mode_max_tokens": True},
     OLD_POOLING | {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}],
)  # fmt: skip
def test_a_pooling_that_umr_has_not_is_refused(tmp_path: Path, pooling: dict[str, Any]) -> None:
    files = {"modules.json": modules(OLD, "Transformer", "Pooling", "Normalize"), "1_Pooling/config.json": pooling}
    with pytest.raises(InputError, match="pooling_mode is"):
        resolved(folder_of(tmp_path, files))


def test_a_module_that_umr_does_not_run_is_refused(tmp_path: Path) -> None:
    files = {"modules.json": modules(OLD, "Transformer", "Pooling", "Dense", "Normalize"), "1_Pooling/config.json": OLD_POOLING}
    with pytest.raises(InputError, match="'Dense'"):
        resolved(folder_of(tmp_path, files))


def test_without_a_word_on_similarity_it_is_asked_for(tmp_path: Path) -> None:
    files = {"modules.json": modules(OLD, "Transformer", "Pooling"), "1_Pooling/config.json": OLD_POOLING}
    with pytest.raises(InputError, match="does not say its similarity"):
        resolved(folder_of(tmp_path, files))


def test_our_own_file_wins_over_the_others(tmp_path: Path) -> None:
    own = EncoderSettings("last", "dot", "Q ", "P ", "pair", 30, 40, True)
    files = {
        "umr_encoder.json": asdict(own),
        "modules.json": modules(OLD, "Transformer", "Pooling", "Normalize"),
        "1_Pooling/config.json": OLD_POOLING,
    }
    found, source = resolved(folder_of(tmp_path, files), "x/e5-small")
    assert found == own
    assert "umr_encoder.json" in source


def test_the_user_overrides_and_is_told_so(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "pooling": "last", "similarity": "dot", "query_prefix": "", "passage_prefix": "x ", "title": "none",
        "query_length": 10, "passage_length": 20, "strip_question_mark": True,
    }  # fmt: skip
    found, source = resolved(folder_of(tmp_path, {}), "x/e5-small", **options)
    assert found == EncoderSettings(**options)
    assert source == f"the E5 family; set by you: {', '.join(options)}"


def test_the_question_mark_is_the_encoders_own_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    """None, True and False of an encoder that strips it, and of one that does not."""
    for own in (True, False):
        file = {"umr_encoder.json": asdict(EncoderSettings("mean", "dot", "", "", "text", 30, 40, own))}
        folder = folder_of(tmp_path / str(own), file)
        assert [resolved(folder, strip_question_mark=said)[0].strip_question_mark for said in (None, True, False)] == [own, True, False]
    assert not resolved(folder_of(tmp_path / "new", {}), "x/e5-small")[0].strip_question_mark


@pytest.mark.parametrize("layout", [False, True])
def test_a_tokenizer_without_a_longest_text(tmp_path: Path, layout: bool) -> None:
    """transformers writes 10^30, which is no length of anything."""
    files: dict[str, Any] = {
        "tokenizer_config.json": {"model_max_length": int(1e30)},
        "config.json": BERT | {"max_position_embeddings": 700},
    }
    if layout:
        files |= {"modules.json": modules(OLD, "Transformer", "Pooling", "Normalize"), "1_Pooling/config.json": OLD_POOLING}
    found, _ = resolved(folder_of(tmp_path, files), "x/e5-small")
    assert (found.query_length, found.passage_length) == (512, 512)


def test_lengths_stay_within_the_models_positions(tmp_path: Path) -> None:
    small = {"config.json": BERT | {"max_position_embeddings": 100}, "sentence_bert_config.json": {"max_seq_length": 256}}
    layout = {"modules.json": modules(OLD, "Transformer", "Pooling", "Normalize"), "1_Pooling/config.json": OLD_POOLING}
    found, _ = resolved(folder_of(tmp_path / "st", small | layout))
    assert (found.query_length, found.passage_length) == (100, 100)
    with pytest.raises(InputError, match=r"passage_length is 101.*positions for 100 tokens") as caught:
        resolved(folder_of(tmp_path / "own", small), pooling="cls", similarity="dot", passage_length=101)
    assert caught.value.hint == "set passage_length to 100 or less"
    roberta = {"config.json": BERT | {"model_type": "xlm-roberta", "max_position_embeddings": 514}}
    found, _ = resolved(folder_of(tmp_path / "roberta", roberta), pooling="cls", similarity="dot")
    assert found.query_length == 512
    longer, _ = resolved(
        folder_of(tmp_path / "long", {"config.json": BERT | {"max_position_embeddings": 8192}}), "x/e5-base", passage_length=2000
    )
    assert (longer.query_length, longer.passage_length) == (512, 2000)


def test_the_description_names_everything_that_decides_a_vector() -> None:
    text = EncoderSettings("last", "dot", "Q ", "P ", "pair", 30, 40, False).describe()
    assert all(part in text for part in ("last", "dot", "'Q '", "'P '", "pair", "30", "40"))
