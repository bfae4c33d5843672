"""The nouns: passages, queries, tokens, embeddings, candidates, scores, labels, batches."""
