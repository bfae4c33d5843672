"""How a causal model's tokenizer begins and ends a text: with the BOS the model was trained with, and without an EOS.

Many tokenizers that came out of conversions (GGUF files, fine-tuning scripts) have lost the rule that puts BOS before a
text. A Gemma without it gives nearly random likelihoods, a Llama or Mistral worse ones; nothing fails. The rule here:

- A tokenizer whose texts begin with BOS stays as it is.
- `add_bos_token` of its configuration decides, true or false; only a Gemma gets its BOS whatever it says.
- Otherwise BOS is put first for the families that are trained with one (`FAMILIES`), if the token is a mark of beginnings
  (`<s>`, `<bos>`, `<|begin_of_text|>`): SmolLM2 is a Llama whose "BOS" opens chat turns, and is left alone.
- Models whose BOS is their EOS (GPT-2, OLMo) or that have none (Qwen) are left alone.
- An EOS behind a text is taken away: the query has to continue the passage.
"""

from __future__ import annotations

import re
from typing import Any

FAMILIES = (
    "cohere", "deepseek", "gemma", "llama", "ministral", "mistral", "mixtral", "recurrent_gemma", "vaultgemma",
)  # fmt: skip
BEGINNINGS = {"s", "bos", "bostoken", "beginoftext", "beginofsentence", "startoftext", "startofsequence"}


def settle_special_tokens(tokenizer: Any, family: str) -> bool:
    """Make a causal model's tokenizer begin and end texts as the model was trained.

    Arguments:
        tokenizer: a fast tokenizer of transformers; changed in place.
        family: `model_type` of the model's configuration.

    Returns:
        whether anything was changed.
    """
    from tokenizers.processors import TemplateProcessing

    begin, end = special_tokens(tokenizer)
    lacking = needs_bos(tokenizer, family) and tokenizer.bos_token_id not in begin
    wanted = [tokenizer.bos_token_id, *begin] if lacking else begin
    rest = [token for token in end if token != tokenizer.eos_token_id]
    if (wanted, rest) == (begin, end):
        return False
    names = {number: tokenizer.convert_ids_to_tokens(number) for number in [*wanted, *rest]}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*(names[number] for number in wanted), "$A", *(names[number] for number in rest)],
        special_tokens=[(name, number) for number, name in names.items()],
    )
    return True


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Special tokens that the tokenizer puts before and behind a text."""
    whole, bare = (list(tokenizer("a", add_special_tokens=special).input_ids) for special in (True, False))
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []


def needs_bos(tokenizer: Any, family: str) -> bool:
    """Whether a text has to begin with BOS for this model."""
    bos = tokenizer.bos_token
    if bos is None or bos == tokenizer.eos_token:
        return False
    said = tokenizer.init_kwargs.get("add_bos_token")
    if said is not None and "gemma" not in family:
        return bool(said)
    return family.startswith(FAMILIES) and re.sub("[^a-z]", "", bos.lower()) in BEGINNINGS
