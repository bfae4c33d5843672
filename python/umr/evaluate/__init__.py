"""Measuring a retriever: metrics by language, whether a difference is more than chance, and the tables that say so.

    evaluation = evaluate_run(run, read_qrels("qrels.txt"), languages)
    comparison = compare(before, evaluation, metric="R@1")
    console.print(comparison_table([comparison]))

Nothing here needs torch or a model: a TREC run of any system can be measured.
"""

from umr.evaluate.evaluation import Evaluation
from umr.evaluate.metrics import DEFAULT_METRICS, evaluate_run
from umr.evaluate.significance import Comparison, Difference, compare
from umr.evaluate.table import comparison_table, evaluation_table

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Difference",
    "Evaluation",
    "compare",
    "comparison_table",
    "evaluate_run",
    "evaluation_table",
]
