"""Prompts: from passages, languages and queries to the token ids that a language model reads."""
