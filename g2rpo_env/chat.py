"""Chat templates: a conversation as the text that a model was trained on, and where it ends a turn.

Texts of a conversation are rendered as marks and put in afterwards, so that a template can neither change them nor
take a part of them for a part of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from g2rpo_env.errors import ConfigurationError

USER, SYSTEM, ANSWER = (f"\u2063{name}\u2063" for name in ("question", "system", "answer"))
"""Marks that stand for texts of a conversation; of invisible separators, which no template strips or holds."""


TEXTS = ('\t What\'s "1" \\cdot <b> & é?\n\n', "1")
"""Texts of a user that show what a template does with one: at its ends, inside, and by its length."""


def chat_template(tokenizer: Any) -> str | None:
    """Return the chat template of a tokenizer, the default one where it has several; None if it has none.

    Raises:
        ConfigurationError: it has several and none of them is the default.
    """
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, list | tuple):  # as tokenizer_config.json holds several
        found = {one["name"]: one["template"] for one in found}
    if not isinstance(found, dict):
        return found or None
    if "default" in found or len(found) == 1:
        return found.get("default") or next(iter(found.values()))
    raise ConfigurationError(
        f"template='chat': the tokenizer has the chat templates {', '.join(sorted(found))} and no default: set "
        "tokenizer.chat_template to one of them"
    )


def render_chat(tokenizer: Any, messages: Sequence[dict[str, str]], *, answer_follows: bool = True) -> str:
    """Return a conversation as text.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: ``role`` and ``content`` of each.
        answer_follows: Whether the text that opens the model's turn is added.

    Raises:
        ConfigurationError: the template refuses the conversation; the message holds its own.
    """
    refusal: Exception | None = None
    for text in _render(tokenizer, messages, answer_follows):
        if isinstance(text, Exception):
            refusal = refusal or text
        elif all(text.count(message["content"]) == 1 for message in messages):
            return text
    if refusal is not None:
        raise ConfigurationError(f"template='chat': the chat template refuses the conversation: {refusal}")
    roles = " and of the ".join(message["role"] for message in messages)
    raise ConfigurationError(f"template='chat': the chat template must hold the text of the {roles} exactly once")


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], answer_follows: bool) -> Iterator[str | Exception]:
    """Give what a template makes of a conversation, first with texts and then with lists of parts."""
    template = chat_template(tokenizer)
    parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
    for conversation in (list(messages), parts):  # templates of multimodal models read lists of parts
        try:
            text = tokenizer.apply_chat_template(
                conversation, chat_template=template, tokenize=False, add_generation_prompt=answer_follows
            )
        except Exception as error:  # whatever Jinja, a raise_exception of the template, or a filter in it raises
            yield error
        else:
            yield str(text)


def fill_chat(
    tokenizer: Any, messages: Sequence[dict[str, str]], text: str, mark: str, content: str
) -> tuple[str, str]:
    """Return what a template makes of a conversation with a content in place of its mark.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: The conversation, with both marks.
        text: What :func:`render_chat` makes of it.
        mark: The mark that the content stands for.
        content: A text that the template may read, such as a message of the system that says ``/no_think``.

    Returns:
        The text with its mark, and the content as it stands there, perhaps without white space at its ends. Where the
        template makes something else of the content, the text without that mark, and the content as it was.

    Raises:
        ConfigurationError: the template refuses the content.
    """
    filled = [{**message, "content": message["content"].replace(mark, content)} for message in messages]
    made = list(_render(tokenizer, filled, True))
    for written in (content, content.strip()):
        if text.replace(mark, written) in made:
            return text, written
    read = [one for one in made if isinstance(one, str) and one.count(USER) == 1]
    if not read:
        raise ConfigurationError(f"template='chat': the chat template refuses {content!r:.40}: {made[0]!s:.200}")
    return read[0], content


def strips_texts(tokenizer: Any) -> bool:
    """Return whether the chat template takes white space off both ends of the text of a user.

    Raises:
        ConfigurationError: it does something else with a text, such as to quote it, or says something about it.
    """
    around = render_chat(tokenizer, [{"role": "user", "content": USER}])
    for strips in (False, True):
        wanted = [around.replace(USER, text.strip() if strips else text) for text in TEXTS]
        if all(
            want in _render(tokenizer, [{"role": "user", "content": text}], True)
            for want, text in zip(wanted, TEXTS, strict=True)
        ):
            return strips
    made = next(_render(tokenizer, [{"role": "user", "content": TEXTS[0]}], True))
    raise ConfigurationError(
        "template='chat': the chat template must give the text of the user as it is, but for white space at both its "
        f"ends; of {TEXTS[0]!r} this one makes {made!r}"
    )


def end_of_turn(tokenizer: Any) -> int | None:
    """Return the token that the chat template puts behind an answer, such as ``<|im_end|>``; None without one."""
    try:
        if chat_template(tokenizer) is None:
            return None
        messages = [{"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}]
        behind = render_chat(tokenizer, messages, answer_follows=False).partition(ANSWER)[2].strip()
    except ConfigurationError:  # it is told to those who ask for the template
        return None
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    found = max((text for text in added if text and behind.startswith(text)), key=len, default=None)
    return None if found is None else int(added[found])
