"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Work = Annotated[Path, typer.Argument(help="The work folder.", show_default=False)]
Round = Annotated[
    int | None,
    typer.Option("--round", help="The round. (default: the newest that this stage can work on)", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Do this stage of the round again; embeddings and scores are kept.")]
Lang = Annotated[
    str | None,
    typer.Option(help="Language code of every query. (default: the record's own, else identified)", show_default=False),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Passages = Annotated[
    list[str] | None,
    typer.Option(help="Passages: DPR TSV or JSONL, .gz too; a file or a quoted glob; may be repeated.", show_default=False),
]
Queries = Annotated[
    list[str] | None,
    typer.Option(
        help="Queries: XOR-TyDi or BEIR JSONL, or TSV, .gz too; a file or a quoted glob; may be repeated.",
        show_default=False,
    ),
]
