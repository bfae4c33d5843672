"""The one place where mining and retrieval get their vectors, centred where the configuration asks for it.

    means = means_for(workspace.passages, workspace.queries, encoder, layout, config, reporter)   # None: nothing is centred
    passages = passage_vectors(any_passages, encoder, layout, config, reporter, means)            # Embeddings, to be searched
    queries = query_vectors(any_queries, encoder, layout, config, reporter, means)                # [Q, d] float32
    vector = centred_queries(vectors, langs, means)                                               # for vectors made elsewhere

The means are always those of the work folder's own passages and unlabelled queries, whatever is searched with them.
They stand in `umr.encoder.centre`, which training uses too.
"""

from __future__ import annotations

from umr.encoder.centre import centred_queries, means_for, means_record, passage_vectors, query_vectors
from umr.encoder.means import Means

__all__ = ["Means", "centred_queries", "means_for", "means_record", "passage_vectors", "query_vectors"]
