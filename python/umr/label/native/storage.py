"""Recipes for int8 on disk: one safetensors file, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from umr.errors import StorageError
from umr.label.native.weights import Recipe, Site
from umr.storage import beside, storage_error

KIND = "umr int8 recipe"
VERSION = 1
HINT = "remove it, and it is made again"
TENSORS = {"codes": torch.int8, "units": torch.float32, "smooth": torch.float32}


def save_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe; the same bytes for the same recipe.

    Arguments:
        path: the file that exists afterwards, whole.
        recipe: of a calibration.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for (layer, name), site in recipe.sites.items():
        tensors |= {f"{layer}.{name}.{key}": getattr(site, key).contiguous() for key in TENSORS}
    for layer, (keys, values) in enumerate(recipe.prefix):
        tensors |= {f"{layer}.prefix.keys": keys.contiguous(), f"{layer}.prefix.values": values.contiguous()}
    groups = {f"{layer}.{name}": site.group for (layer, name), site in recipe.sites.items()}
    about = {"kind": KIND, "version": VERSION, "groups": groups, "layers": len(recipe.prefix), "ids": list(recipe.ids)}
    with beside(path) as temporary:
        save_file(tensors, temporary, {"umr": json.dumps(about)})  # one entry: the order of several is not fixed


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: there is no such file.
        StorageError: the file is torn, or no recipe of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["umr"])
            if (about["kind"], about["version"]) != (KIND, VERSION):
                raise StorageError(f"{path}: no recipe of version {VERSION}", HINT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return _recipe(about["groups"], about["layers"], tuple(about["ids"]), tensors)
    except OSError as error:
        raise storage_error(error, path) from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path}: not a whole recipe ({error})", HINT) from error


def _recipe(groups: Mapping[str, int], layers: int, ids: tuple[int, ...], tensors: Mapping[str, Tensor]) -> Recipe:
    sites = {}
    for place, group in groups.items():
        layer, name = place.split(".")
        sites[int(layer), name] = Site(**{key: tensors[f"{place}.{key}"] for key in TENSORS}, group=group)
        _check(place, sites[int(layer), name])
    prefix = [(tensors[f"{layer}.prefix.keys"], tensors[f"{layer}.prefix.values"]) for layer in range(layers)]
    return Recipe(sites, prefix, ids)


def _check(place: str, site: Site) -> None:
    rows, inputs = site.codes.shape
    groups = inputs // site.group if site.group else 1
    fits = site.units.shape == (rows, groups) and site.smooth.shape == (inputs,)
    if not fits or any(getattr(site, key).dtype != dtype for key, dtype in TENSORS.items()):
        raise ValueError(f"the parts of {place} do not fit together")
