"""The card of a trained encoder, README.md in its folder as model hubs show it, and its way to a hub."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from umr.config import TrainConfig
from umr.data.workspace import Workspace
from umr.errors import ModelError
from umr.layout import RoundLayout
from umr.manifest import read_manifest
from umr.progress import Reporter
from umr.storage import beside
from umr.train.checkpoint import History

CARD = "README.md"
SCORES = "## Scores"
SHOWN = 60  # languages that are listed
UNPAIRED = (
    "Trained without a labelled pair: the labels are likelihoods of the queries under a language model (UMR, arXiv 2403.03516).\n"
    "Whether the model that it began with had seen pairs is for that model's own card to say.\n\n"
)


def card(workspace: Workspace, place: RoundLayout, config: TrainConfig, history: History) -> str:
    """Markdown with what the encoder was made from.

    Arguments:
        workspace: passages and queries.
        place: the round, mined and labelled.
        config: of the training.
        history: of the training, ended.
    """
    mined, labelled = read_manifest(place.mined, "mine"), read_manifest(place.labelled, "label")
    langs = Counter(workspace.queries.langs).most_common(SHOWN)
    named = workspace.encoder.model
    base = Path(named).name if Path(named).is_dir() else named  # no path of a machine
    kept = f", its first {workspace.encoder.layers} layers" if workspace.encoder.layers else ""
    lms = [Path(lm).name if Path(lm).exists() else lm for lm in (labelled.get("lm"), *labelled.get("also", [])) if lm]
    changed = {name: value for name, value in asdict(config).items() if value != getattr(TrainConfig(), name) and name != "device"}
    facts = {
        "began with": base + kept,
        "rounds": place.number + 1,
        "passages": f"{len(workspace.passages):,} (fingerprint {workspace.passages.fingerprint[:16]})",
        "queries, unlabelled": f"{len(workspace.queries):,} (fingerprint {workspace.queries.records.fingerprint[:16]})",
        "languages of the queries": ", ".join(f"{code} {count:,}" for code, count in langs),
        "candidates of a query": mined["config"].get("top_k", "?"),
        "labels by": ", ".join(lms) or "not known",
        "training": ", ".join(f"{name} {value}" for name, value in changed.items()) or "umr's defaults",
    }
    if history.validation:
        facts["validation loss"] = f"{history.validation[0][1]:.4f} before, {min(loss for _, loss, _ in history.validation):.4f} at best"
    return _page(facts, [code for code, _ in langs], base, UNPAIRED if lms else "")


def _page(facts: dict[str, Any], langs: list[str], base: str, claim: str) -> str:
    named = "".join(f"- {json.dumps(code)}\n" for code in langs if code)
    hub = f"base_model: {base}\n" if base.count("/") == 1 else ""
    rows = "".join(f"| {name} | {str(value).replace('|', '/')} |\n" for name, value in facts.items())
    return (
        f"---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\ntags:\n- dense-retrieval\n- umr\n{hub}"
        f"{'language:' if named else ''}\n{named}---\n\n# A dense retriever, trained by umr\n\n"
        f"{claim}| | |\n|---|---|\n{rows}"
    )


def add_scores(workspace: Workspace, number: int, table: str, reporter: Reporter) -> Path:
    """Put scores into the card of a trained encoder, in the place of those that it has.

    Arguments:
        workspace: of the round.
        number: of the round that trained the encoder.
        table: Markdown.
        reporter: told where another process is waited for.

    Returns:
        the card.
    """
    path = workspace.layout.round(number).encoder / CARD
    with workspace.writing(reporter):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        with beside(path) as temporary:
            others = re.sub(rf"(?ms)^{SCORES}$.*?(?=^##? |\Z)", "", text).rstrip()  # sections that people added stay
            temporary.write_text(f"{others}\n\n{SCORES}\n\n{table}\n", encoding="utf-8")
    return path


def open_on_hub(name: str) -> None:
    """Make a private repository on the model hub unless there is one: what fails here fails before the training, not after it.

    Arguments:
        name: owner/name.

    Raises:
        ModelError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    with _hub_errors(f"no repository {name} on the hub", "see `hf auth whoami`, or leave --push-to-hub out"):
        HfApi().create_repo(name, private=True, exist_ok=True)


def push_to_hub(folder: Path, name: str) -> str:
    """Put an encoder on the model hub.

    Arguments:
        folder: of the encoder.
        name: owner/name of a repository that is there.

    Returns:
        the address of what was put there.

    Raises:
        ModelError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    with _hub_errors(f"{folder} is trained, but is not on the hub as {name}", f"hf upload {name} {folder}"):
        return str(HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message="An encoder trained by umr"))


@contextmanager
def _hub_errors(what: str, hint: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's library raises errors of its own and of its connection
        raise ModelError(f"{what}: {(str(error).splitlines() or [type(error).__name__])[0]}", hint) from error
