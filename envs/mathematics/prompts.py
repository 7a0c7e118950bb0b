"""Prompt templates: plain, with think and answer tags, and the chat template of a tokenizer."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from g2rpo_env.chat import SYSTEM, USER, chat_template, fill_chat, render_chat, strips_texts
from g2rpo_env.encoding import Frame, template_frame, text_frame
from g2rpo_env.errors import ConfigurationError

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


def frame_prompt(
    tokenizer: PreTrainedTokenizerFast, template: str, system: str | None = None
) -> tuple[str, Frame | None]:
    """Return the text of a prompt template without its special tokens, and the frame around it.

    The frame is that of :func:`chat_frame` for the template ``chat``, that of the special tokens in a text of the
    user's, and None where there is nothing around the prompt but what the tokenizer puts before a text.

    Raises:
        ConfigurationError: there is a system message without the template ``chat``, the tokenizer has no chat template,
            or the text breaks the rule of :func:`template_text`.
    """
    if system is not None and template != "chat":
        raise ConfigurationError(f"system={system!r:.40} must come with template='chat', got template={template!r}")
    if template == "chat":
        return template, chat_frame(tokenizer, system)
    return (template, None) if template in TEMPLATES else text_frame(tokenizer, template_text(template), "{question}")


def chat_frame(tokenizer: PreTrainedTokenizerFast, system: str | None = None) -> Frame:
    """Return what a tokenizer's chat template puts around the text of a user.

    Only the template's own special tokens become special ids; the question is encoded as data, so that a literal
    ``<|im_end|>`` in a problem ends no turn, and so is the message of the system; where the template reads that
    message, as for ``/no_think``, it is a part of the template.

    Args:
        tokenizer: A tokenizer with a chat template.
        system: Message of the system, or None for what the template does without one. It stands at the beginning of
            the user's turn, and a warning says so, where the template refuses such a message or leaves it out.

    Raises:
        ConfigurationError: there is no chat template, it refuses the conversation, or it repeats or changes the text of
            the user.
    """
    if chat_template(tokenizer) is None:
        raise ConfigurationError(
            "template='chat' needs a tokenizer with a chat template; this one has none "
            f"(others: {', '.join(name for name in TEMPLATES if name != 'chat')})"
        )
    text, system = (render_chat(tokenizer, [_user(USER)]), "") if system is None else _with_system(tokenizer, system)
    contents = {SYSTEM: (system, False), USER: None}
    parts = [part for part in re.split(f"({SYSTEM}|{USER})", text) if part]
    pieces = [contents[part] if part in contents else (part, True) for part in parts]
    return template_frame(tokenizer, pieces, strips=strips_texts(tokenizer))


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _with_system(tokenizer: PreTrainedTokenizerFast, system: str) -> tuple[str, str]:
    """Return a conversation as text, with the marks of both texts, and the message of the system as it stands there."""
    messages = [{"role": "system", "content": SYSTEM}, _user(USER)]
    try:
        text = render_chat(tokenizer, messages)
    except ConfigurationError as refusal:
        messages = [_user(f"{SYSTEM}\n\n{USER}")]
        text = render_chat(tokenizer, messages)
        warnings.warn(
            f"system={system!r:.40} stands at the beginning of the user's turn, since it cannot be a message of its "
            f"own: {refusal}",
            stacklevel=2,
        )
    return fill_chat(tokenizer, messages, text, SYSTEM, system)
