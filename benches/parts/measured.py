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
    from umr.evaluate import Evaluation

Values = dict[str, dict[str, Any]]
METRIC = {"apart": "R@1", "across": "mAP", "A": "R@1", "B": "mAP"}
CHOOSING = ("apart", "across")  # tasks of train-mix


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
        from umr.storage import beside

        path = self._place(name, task, centre, whiten)
        if not path.exists():
            encoder = replace(load_encoder(config, pick_device(self.device)), means=None)
            found = measure(task, encoder, centre, self.vectors, self.report, precision="bf16", whiten=whiten, shard=self.shard)
            with beside(path) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")
        return self._read(path)

    def paired(self, before: Sequence[str], after: Sequence[str], metrics: Sequence[tuple[Task, str]], whiten: float) -> None:
        """A fact for each task: whether two rows differ by more than chance, centred by language; of several seeds, their means by query.

        Arguments:
            before, after: the names of the rows, one a seed.
            metrics: what is compared.
            whiten: strength of the whitening.
        """
        from umr.evaluate import compare

        for task, metric in metrics:
            row = compare(*(self._mean(names, task, metric, whiten) for names in (before, after)), metric=metric).macro
            said = f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f}), p {row.p:.4f}"
            self.report.fact(f"{task.name} {metric}: {after[0]} less {before[0]}", said)

    def _mean(self, names: Sequence[str], task: Task, metric: str, whiten: float) -> Evaluation:
        """The mean over seeds of every query's value, 0 to 1."""
        from umr.evaluate import Evaluation

        seeds = [self._read(self._place(name, task, "language", whiten)) for name in names]
        langs = {query: str(row["lang"]) for query, row in seeds[0].items()}
        return Evaluation({metric: {query: sum(rows[query][metric] for rows in seeds) / len(seeds) / 100 for query in langs}}, langs)

    def _place(self, name: str, task: Task, centre: str, whiten: float) -> Path:
        return self.folder / f"{name}.{centre}.{whiten:g}.{task.name}-{self.a_language}.json"

    @staticmethod
    def _read(path: Path) -> Values:
        found: Values = json.loads(path.read_text(encoding="utf-8"))
        return found
