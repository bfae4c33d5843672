"""Chat models: the prompt as a user's turn in the model's own template, the target as the beginning of the answer."""

from __future__ import annotations

from typing import Any

from umr.errors import UsageError

TURN = "UMR-TURN-0F3A"  # stands for the user's words while the template is rendered
DAY = "1 January 2026"  # a template that tells the date must not change the scores from day to day
CALENDAR = "{% macro strftime_now(form) %}" + DAY + "{% endmacro %}\n"
SETTINGS = {"date_string": DAY, "enable_thinking": False}  # the query is to be the answer itself


def in_chat(source: str, tokenizer: Any) -> str:
    """A source template inside a model's chat template.

    Arguments:
        source: the template; white space around it goes, as most chat templates have it.
        tokenizer: of the model.

    Returns:
        a template whose filled text holds the chat's special tokens by name.

    Raises:
        UsageError: the model has no chat template, or one that cannot hold a single turn.
    """
    if not tokenizer.chat_template:  # a text, or several by name
        raise UsageError("this model has no chat template", "leave --chat out, or give the model's chat (instruct, it) version")
    turn = [{"role": "user", "content": TURN}]
    try:
        template = CALENDAR + tokenizer.get_chat_template()
        text = tokenizer.apply_chat_template(turn, chat_template=template, tokenize=False, add_generation_prompt=True, **SETTINGS)
    except Exception as error:  # a template is a program of the model's makers, and raises what it likes
        raise UsageError(f"the chat template of this model cannot be used: {error}", "leave --chat out") from error
    parts = text.split(TURN)
    if len(parts) != 2:
        raise UsageError("the chat template of this model does not hold the user's words once, as they are", "leave --chat out")
    return _literal(parts[0]) + source.strip() + _literal(parts[1])


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
