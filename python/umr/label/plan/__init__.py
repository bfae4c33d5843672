"""The plan of a labelling: which pairs are scored, in which batches, and what that takes."""
