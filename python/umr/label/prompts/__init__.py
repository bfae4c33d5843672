"""Prompts: from passages, languages and questions to the token ids that a language model reads."""
