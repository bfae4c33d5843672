"""`umr data`: labels for other toolkits, and what is in files before hours are spent on them."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from rich.console import RenderableType

from umr._rust import Records
from umr.cli.options import Round, Work, option
from umr.cli.output import Result
from umr.config import EncoderConfig
from umr.data.corpus import expand
from umr.data.inputs import IR_DATASETS, input_files
from umr.data.labels import labels_of
from umr.data.workspace import open_workspace
from umr.errors import InputError, UsageError
from umr.exchange.check import Check, Kind
from umr.exchange.check import check as look
from umr.exchange.export import Form
from umr.exchange.export import export as write
from umr.layout import WorkLayout
from umr.progress import Reporter
from umr.progress.terminal import table_of_numbers
from umr.storage import fetched, is_remote, put, read_lines

Forms = Literal[Form, "onnx"]
FORMS = ", ".join(get_args(Forms))
FormOption = Annotated[
    Forms, option("--form", help=f"For which toolkit. ({FORMS}; default: sentence-transformers)", unit="choice", panel="Output")
]


def export(
    work: Work,
    out: Annotated[
        str,
        option("--out", help="The file to write; for onnx a folder. A path, or an address such as s3://...", unit="file", panel="Output"),
    ],
    reporter: Reporter,
    form: FormOption = "sentence-transformers",
    keep: Annotated[
        int | None, option(help="Passages of a query, the best-labelled first. (default: all)", unit="passages", panel="Output")
    ] = None,
    round: Round = None,
) -> Result:
    """Write the labels of a round as the training rows of another toolkit: the best-labelled passage, negatives, and their labels.

    With `--form onnx` the trained encoder instead, as ONNX models: WORK may be an encoder's own folder too.
    """
    if not is_remote(out):
        return _export(work, Path(out), form, keep, round, reporter)
    with tempfile.TemporaryDirectory(prefix="umr-export-") as folder:
        made = _export(work, Path(folder) / "made", form, keep, round, reporter)
        put(Path(folder) / "made", out)
    return Result({**made.data, "folder" if form == "onnx" else "file": out}, [f"written to {out}"])


def _export(work: Path, out: Path, form: Forms, keep: int | None, round: int | None, reporter: Reporter) -> Result:
    if form == "onnx":
        return _encoder(work, out, keep, round, reporter)
    workspace = open_workspace(work, reporter)
    done = [place for place in workspace.layout.rounds() if place.labelled.exists() and round in (None, place.number)]
    if not done:
        raise InputError(f"{work}: no labelled round{'' if round is None else f' {round}'}", f"umr label {work} makes labels")
    queries = write(workspace, labels_of(done[-1]), form, out, keep)
    return Result(
        {"round": done[-1].number, "queries": queries, "file": str(out)}, [f"{queries:,} queries of round {done[-1].number} in {out}"]
    )


def _encoder(work: Path, out: Path, keep: int | None, round: int | None, reporter: Reporter) -> Result:
    from umr.encoder.onnx import export_onnx

    layout, encoder = WorkLayout(work), EncoderConfig(model=str(work))
    if keep is not None or (round is not None and not layout.manifest.exists()):
        raise UsageError("--keep, and --round without a work folder, say nothing of an encoder", "leave them out")
    if layout.manifest.exists():
        trained = [place.number for place in layout.rounds() if place.trained.exists() and round in (None, place.number)]
        if not trained:
            raise InputError(f"{work}: no trained round{'' if round is None else f' {round}'}", f"umr train {work} makes an encoder")
        encoder = open_workspace(work, reporter).encoder_of(trained[-1] + 1)
    export_onnx(encoder, out)
    return Result({"encoder": encoder.model, "folder": str(out)}, [f"the encoder {encoder.model} as ONNX models in {out}"])


def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Passages and queries, as `umr mine` takes them.", show_default=False)],
    reporter: Reporter,
    kind: Annotated[
        Kind | None,
        option("--as", help="What they are. (passages, queries; default: told by names and fields)", unit="choice", panel="Input"),
    ] = None,
) -> Result:
    """Say what is in files: languages, lengths, duplicates, wrong scripts and encodings, before hours are spent on them."""
    kinds: dict[Kind, list[Path]] = {}
    found, known = [], set[int]()
    with tempfile.TemporaryDirectory(prefix="umr-check-") as cache:
        for path in files:
            names = [path] if path.startswith(IR_DATASETS) else fetched(path, Path(cache)) if is_remote(path) else expand([path], "files")
            for name in map(Path, names):
                kinds.setdefault(kind or kind_of(name), []).append(name)
        for one in (k for k in get_args(Kind) if k in kinds):
            records = Records.open(input_files(kinds[one], one, WorkLayout(Path(cache))), one, cache)
            found.append(look(records, one, reporter, known))
    return Result({made.kind: made.data() for made in found}, [part for made in found for part in _shown(made)])


def kind_of(path: Path) -> Kind:
    """Whether a file has passages or queries, by its name, else by the fields of its first record."""
    if re.search(r"quer|topic|question|\.qa\.", path.name, re.IGNORECASE):
        return "queries"
    first = next((text for _, text in read_lines(path)), "") if path.is_file() and path.suffix.lower() != ".parquet" else ""
    return "queries" if re.search(r'"(question|query)"\s*:|^(id\t)?(query|question)\b', first) else "passages"


def _shown(made: Check) -> list[RenderableType]:
    """A row a language, then where the first records of each finding stand."""
    findings = ("empty", "nearly_empty", "duplicates", "other_script", "damaged", "markup", "copies")
    used = [name for name in findings if any(getattr(one, name) for one in made.languages.values())]
    table = table_of_numbers(made.kind, None, "lang", "records", "median", "99 %", "longest", *(name.replace("_", " ") for name in used))
    for lang, one in made.languages.items():
        table.add_row(lang, *(f"{n:,}" for n in (one.records, *one.lengths, *(getattr(one, name) for name in used))))
    lines = [
        f"{name.replace('_', ' ')}: {', '.join(f'{Path(path).name}:{line} ({record})' for path, line, record in places)}"
        for name, places in made.examples.items()
    ]
    if made.sample:
        shares = ", ".join(f"{lang} {share:.0%}" for lang, share in made.sample.items())
        lines.append(f"untagged {made.kind}, identified from their text: {shares}")
    return [table, *lines]
