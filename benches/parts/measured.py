"""What encoders gave on the tasks of headline.py: the values of every query, kept in a file each, and paired tests between rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches.centring import Task, measure
from benches.harness import Report

if TYPE_CHECKING:
    from umr import EncoderConfig

Values = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """Values of rows on tasks.

    Arguments:
        folder: where they are kept.
        vectors: folder of the vectors.
        a_language: queries of XQuAD-R a language, which the names of the files say.
        device: that encodes.
        shard: texts of a file of vectors.
        report: of the benchmark.
    """

    folder: Path
    vectors: Path
    a_language: int
    device: str
    shard: int
    report: Report

    def values(self, name: str, config: EncoderConfig, task: Task, centre: str, whiten: float) -> Values:
        """Query -> its language and metrics; what was measured before is read."""
        from umr.encoder.load import load_encoder
        from umr.models.device import pick_device

        path = self._place(name, task, centre, whiten)
        if not path.exists():
            encoder = replace(load_encoder(config, pick_device(self.device)), means=None)
            found = measure(task, encoder, centre, self.vectors, self.report, precision="bf16", whiten=whiten, shard=self.shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part")
            temporary.write_text(json.dumps(found), encoding="utf-8")
            temporary.rename(path)
        return self._read(path)

    def paired(self, before: str, after: str, metrics: Sequence[tuple[Task, str]], whiten: float) -> None:
        """A fact for each task: whether two rows differ by more than chance, centred by language."""
        from umr.evaluate import Evaluation, compare

        for task, metric in metrics:
            sides = []
            for name in (before, after):
                values = self._read(self._place(name, task, "language", whiten))
                langs = {query: str(row["lang"]) for query, row in values.items()}
                sides.append(Evaluation({metric: {query: row[metric] / 100 for query, row in values.items()}}, langs))
            row = compare(sides[0], sides[1], metric=metric).macro
            said = f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f}), p {row.p:.4f}"
            self.report.fact(f"{task.name} {metric}: {after} less {before}", said)

    def _place(self, name: str, task: Task, centre: str, whiten: float) -> Path:
        return self.folder / f"{name}.{centre}.{whiten:g}.{task.name}-{self.a_language}.json"

    @staticmethod
    def _read(path: Path) -> Values:
        found: Values = json.loads(path.read_text(encoding="utf-8"))
        return found
