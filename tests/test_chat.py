"""Chat templates: rendered with marks for texts, refused in their own words, and where they end a turn."""

import copy
from typing import Any

import pytest
from tokenizer_families import CHATML, FAMILIES, GEMMA, LLAMA3

from g2rpo_env.chat import ANSWER, SYSTEM, USER, chat_template, end_of_turn, fill_chat, render_chat, strips_texts
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import char_tokenizer, encode, known_end_tokens

ASKED = [{"role": "user", "content": USER}]


@pytest.fixture
def tokenizer() -> Any:
    """Bytes with tokens for turns, and no template yet."""
    made = copy.deepcopy(char_tokenizer())
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


def test_a_template_may_be_one_of_several(tokenizer: Any) -> None:
    assert chat_template(tokenizer) is None and chat_template(object()) is None
    named = {"default": CHATML, "tool_use": GEMMA}
    for several in (named, [{"name": name, "template": text} for name, text in named.items()], {"rag": CHATML}):
        tokenizer.chat_template = several
        assert chat_template(tokenizer) == CHATML
        assert render_chat(tokenizer, ASKED) == f"<|im_start|>user\n{USER}<|im_end|>\n<|im_start|>assistant\n"
    tokenizer.chat_template = {"rag": CHATML, "tool_use": CHATML}
    with pytest.raises(ConfigurationError, match="has the chat templates rag, tool_use and no default: set"):
        chat_template(tokenizer)
    assert end_of_turn(tokenizer) is None


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('only tools here') }}", "refuses the conversation: only tools here"),
        (
            "{{ messages[0]['content'].nothing.more }}",
            "refuses the conversation: 'str object' has no attribute 'nothing'",
        ),
        ("{% for m in messages %}", "refuses the conversation: "),
        ("{{ messages[0]['content'][:3] }}", "must hold the text of the user exactly once"),
        ("{{ messages[0]['content'] * 2 }}", "must hold the text of the user exactly once"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(tokenizer: Any, template: str, message: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ConfigurationError, match=message):
        render_chat(tokenizer, ASKED)
    assert end_of_turn(tokenizer) is None and known_end_tokens(tokenizer) == {1}


CONTENT = "messages[0]['content']"


@pytest.mark.parametrize(
    ("template", "strips"),
    [(f"<|im_start|>{{{{ {CONTENT} }}}}", False), (f"{{{{ {CONTENT} | trim }}}} ", True)]
    + [("{% for part in messages[0]['content'] %}{{ part['text'].strip() }}{% endfor %}", True)],
)
def test_a_template_may_take_white_space_off_a_text(tokenizer: Any, template: str, strips: bool) -> None:
    tokenizer.chat_template = template
    assert strips_texts(tokenizer) is strips


READS = (
    "{% set text = messages[0]['content'] %}{% if not text %}{{ raise_exception('say something') }}{% endif %}"
    "{{ text.replace('/no_think', '') | trim }}|{{ messages[1]['content'] }}"
    "{% if '/no_think' in text %}<think></think>{% endif %}"
)


@pytest.mark.parametrize(
    ("content", "text", "stands"),
    [
        ("Be brief.", f"{SYSTEM}|{USER}", "Be brief."),
        (" Be brief.\n", f"{SYSTEM}|{USER}", "Be brief."),
        ("Be brief. /no_think", f"Be brief.|{USER}<think></think>", "Be brief. /no_think"),
        ("a", f"{SYSTEM}|{USER}", "a"),
    ],
)
def test_a_template_may_read_a_text_that_is_known(tokenizer: Any, content: str, text: str, stands: str) -> None:
    tokenizer.chat_template = READS
    messages = [{"role": "system", "content": SYSTEM}, *ASKED]
    marked = render_chat(tokenizer, messages)
    assert fill_chat(tokenizer, messages, marked, SYSTEM, content) == (text, stands)
    with pytest.raises(ConfigurationError, match="refuses '': say something"):
        fill_chat(tokenizer, messages, marked, SYSTEM, "")


@pytest.mark.parametrize("change", ["| tojson", "| e", ".lstrip()", "| length }} {{ messages[0]['content']"])
def test_a_template_that_does_something_else_with_a_text_is_refused(tokenizer: Any, change: str) -> None:
    tokenizer.chat_template = f"<|im_start|>{{{{ {CONTENT} {change} }}}}<|im_end|>"
    with pytest.raises(ConfigurationError, match="must give the text of the user as it is, but for white space"):
        strips_texts(tokenizer)


def test_a_template_that_reads_parts_gets_parts(tokenizer: Any) -> None:
    parts = "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}"
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>" + parts + "<|im_end|>{% endfor %}"
    assert render_chat(tokenizer, ASKED) == f"<|im_start|>{USER}<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == "<|im_end|>"


@pytest.mark.parametrize(
    ("family", "end"),
    [("Gemma", "<end_of_turn>"), ("Llama 3", "<|eot_id|>"), ("Phi-3", "<|end|>"), ("Qwen, base", "<|im_end|>")]
    + [("Llama 2", "</s>"), ("Falcon", None), ("GPT-2", None)],
)
def test_a_turn_ends_with_the_token_behind_the_answer(family: str, end: str | None) -> None:
    made = FAMILIES[family].tokenizer
    found = end_of_turn(made)
    assert (None if found is None else made.convert_ids_to_tokens(found)) == end


def test_an_end_of_turn_that_is_not_marked_as_special_ends_answers_and_is_text_in_data(tokenizer: Any) -> None:
    tokenizer.add_tokens(["<|stop|>"])
    stop = tokenizer.convert_tokens_to_ids("<|stop|>")
    assert stop in encode(tokenizer, "a<|stop|>")[0]  # an added token like any other
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|stop|>\n{% endfor %}"
    assert known_end_tokens(tokenizer) == {1, stop}
    assert stop not in encode(tokenizer, "a<|stop|>")[0] and stop not in encode(tokenizer, "<|stop|>", begins=True)[0]


def test_the_mark_of_an_answer_stands_in_the_text() -> None:
    conversation = [*ASKED, {"role": "assistant", "content": ANSWER}]
    text = render_chat(FAMILIES["Llama 3"].tokenizer, conversation, answer_follows=False)
    assert text.endswith(f"{ANSWER}<|eot_id|>") and LLAMA3[:15] in str(FAMILIES["Llama 3"].template)
