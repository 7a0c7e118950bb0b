"""Prompt templates: plain, with think and answer tags, and the chat template of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATES = {
    "plain": "{question}\n",
    "boxed": "{question}\nReason step by step and put the final answer in \\boxed{}.\n",
    "think": "{question}\nReason between <think> and </think>, "
    "then state the final answer between <answer> and </answer>.\n",
    "chat": "{question}",
}
"""Templates by name. Each but ``chat``, which a frame of tokens follows, ends with a line break, so that no token spans
prompt and solution."""

OPENING, CLOSING = "<think>\n", "\n</think>\n"
_PLACE = "\u2063question\u2063"  # invisible separators: no template strips or holds them


def template_text(template: str) -> str:
    """Return the text of a template: one of :data:`TEMPLATES`, or a text with ``{question}`` in it.

    Raises:
        ConfigurationError: it is no name and does not hold ``{question}`` exactly once.
    """
    text = TEMPLATES.get(template, template)
    if text.count("{question}") != 1:
        raise ConfigurationError(
            f"template={template!r} must hold '{{question}}' exactly once, or be one of {', '.join(TEMPLATES)}"
        )
    return text


def template_frame(
    tokenizer: PreTrainedTokenizerFast, template: str, system: str | None
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the token ids around a prompt: :func:`chat_frame` for the template ``chat``, none for others.

    Raises:
        ConfigurationError: there is a system message without that template, or the tokenizer has no chat template.
    """
    if system is not None and template != "chat":
        raise ConfigurationError(f"system={system!r:.40} must come with template='chat', got template={template!r}")
    return chat_frame(tokenizer, system) if template == "chat" else ((), ())


def chat_frame(tokenizer: PreTrainedTokenizerFast, system: str | None = None) -> tuple[list[int], list[int]]:
    """Return the token ids that a tokenizer's chat template puts before and after the text of a user.

    Only the template's own special tokens become special ids; the question is encoded by itself as data, so that a
    literal ``<|im_end|>`` in a problem ends no turn.

    Args:
        tokenizer: A tokenizer with a chat template.
        system: Message of the system, or None for what the template does without one.

    Raises:
        ConfigurationError: there is no chat template, or it repeats or changes the text of the user.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigurationError(
            "template='chat' needs a tokenizer with a chat template; this one has none "
            f"(others: {', '.join(name for name in TEMPLATES if name != 'chat')})"
        )
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": _PLACE})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if not isinstance(text, str) or text.count(_PLACE) != 1:
        raise ConfigurationError("template='chat': the chat template must hold the text of the user exactly once")
    before, after = text.split(_PLACE)
    if system and system in before:
        # A system message is text as well: what looks like a special token in it is none.
        head, tail = before.split(system, 1)
        ids = [*_special(tokenizer, head), *encode(tokenizer, system)[0].tolist(), *_special(tokenizer, tail)]
        return ids, _special(tokenizer, after)
    return _special(tokenizer, before), _special(tokenizer, after)


def _special(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]
    return [int(token) for token in ids]
