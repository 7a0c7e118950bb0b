"""Shared fixtures: small data, a merging tokenizer, real data when there is some; long tests only when CI is set."""

import os
from pathlib import Path
from typing import Any

import pytest
from standins import GSM8K_ROWS, write_rows


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked long unless CI is set."""
    if os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="long: runs when CI=1")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that G2RPO_DATA names."""
    folder = os.environ.get("G2RPO_DATA")
    if not folder:
        pytest.skip("G2RPO_DATA is not set: it names the folder with the real data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def gsm8k_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like GSM8K's: 5 rows of train.jsonl, 40 of test.jsonl."""
    folder = tmp_path_factory.mktemp("gsm8k")
    write_rows(folder / "train.jsonl", GSM8K_ROWS)
    write_rows(folder / "test.jsonl", [(f"What is {n}+1?", f"{n}+1={n + 1}\n#### {n + 1}") for n in range(40)])
    return folder


MERGES = [("Ċ", "5"), ("Ċ", "#"), ("=", "8"), ("8", "+")]  # Ċ is the line break


@pytest.fixture(scope="session")
def merging_tokenizer() -> Any:
    """Bytes and four merges: line break with the digit or mark that follows, and '=8', which crosses the prompt."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    """Bytes, two special tokens of a chat, and a template like Qwen's."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<pad>")
    fast.chat_template = CHAT
    return fast
