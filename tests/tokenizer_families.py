"""Tokenizers of the families that people use, tiny: their classes and parts, over characters, bytes, a few merges."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

CHARACTERS = [chr(code) for code in range(33, 127)]
"""Printable characters of ASCII but the space."""


def spm_vocab(special: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Special tokens, a token per byte, characters with the space as ``▁``, and what merges make."""
    words = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *CHARACTERS, *(a + b for a, b in merges)]
    return {word: index for index, word in enumerate(dict.fromkeys(words))}


def byte_vocab(special: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Special tokens, the characters that stand for bytes, and what merges make."""
    from tokenizers import pre_tokenizers

    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    return {word: index for index, word in enumerate(dict.fromkeys(words))}


SPM_MERGES = [("▁", "W"), ("▁", "▁"), ("▁▁", "▁▁"), ("▁", "1"), ("i", "s"), ("▁", "is")]
BYTE_MERGES = [("Ġ", "W"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ("?", "Ċ"), ("i", "s"), ("Ġ", "is")]

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
"""How Llama 3, Qwen and others cut texts before they merge."""


def byte_level(special: Sequence[str], split: bool = True, **options: Any) -> Any:
    """A tokenizer of bytes as the class of Llama 3, DeepSeek, Falcon and others makes it of their tokenizer.json."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab=byte_vocab(special, BYTE_MERGES), merges=BYTE_MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split:
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), plain])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=list(special), **options)


def prepending(special: Sequence[str], bos: str | None = "<s>", **options: Any) -> Any:
    """A SentencePiece tokenizer as Llama 2, Mistral and TinyLlama have it in tokenizer.json: ``Prepend``, ``Strip``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = spm_vocab(["<unk>", "<s>", "</s>", *special], SPM_MERGES)
    model = models.BPE(vocab=vocab, merges=SPM_MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, vocab[bos])])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=list(special), **{**names, **options}
    )


def with_beginning(tokenizer: Any, single: str) -> Any:
    """A tokenizer that puts these special tokens around a text, ``$A``."""
    from tokenizers import processors

    names = [name for name in single.split() if name != "$A"]
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in dict.fromkeys(names)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


def llama_class(**options: Any) -> Any:
    """The class of Llama as transformers builds it from a vocabulary."""
    from transformers import LlamaTokenizer

    vocab = spm_vocab(["<unk>", "<s>", "</s>"], SPM_MERGES)
    return LlamaTokenizer(vocab=vocab, merges=SPM_MERGES, add_bos_token=True, **options)


def code_llama() -> Any:
    """CodeLlama."""
    from transformers import CodeLlamaTokenizer

    special = ["<unk>", "<s>", "</s>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>", "<FILL_ME>"]
    return CodeLlamaTokenizer(vocab=spm_vocab(special, SPM_MERGES), merges=SPM_MERGES)


def gemma() -> Any:
    """Gemma: no space before a text, ``<bos>`` before all of them."""
    from transformers import GemmaTokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    vocab = spm_vocab(special, [*SPM_MERGES, ("\n", "\n")])
    vocab |= {"\n": len(vocab)}
    turns = special[-2:]
    return GemmaTokenizer(vocab=vocab, merges=SPM_MERGES, add_bos_token=True, additional_special_tokens=turns)


def qwen() -> Any:
    """Qwen: its end token ends a text, ``<|im_end|>`` a turn."""
    from transformers import Qwen2Tokenizer

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = byte_vocab(special, BYTE_MERGES)
    return Qwen2Tokenizer(vocab=vocab, merges=BYTE_MERGES, additional_special_tokens=special[1:])


def gpt2(special: Sequence[str] = (), **options: Any) -> Any:
    """GPT-2, and the class of SmolLM."""
    from transformers import GPT2Tokenizer

    vocab = byte_vocab(["<|endoftext|>", *special], BYTE_MERGES)
    return GPT2Tokenizer(vocab=vocab, merges=BYTE_MERGES, additional_special_tokens=list(special), **options)


def gpt_neox() -> Any:
    """GPT-NeoX and Pythia."""
    from transformers import GPTNeoXTokenizer

    return GPTNeoXTokenizer(vocab=byte_vocab(["<|endoftext|>", "<|padding|>"], BYTE_MERGES), merges=BYTE_MERGES)


def cohere() -> Any:
    """Command R."""
    from transformers import CohereTokenizer

    special = ["<PAD>", "<UNK>", "<CLS>", "<SEP>", "<MASK_TOKEN>", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"]
    turns = ["<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"]
    vocab = byte_vocab([*special, *turns], BYTE_MERGES)
    made = CohereTokenizer(vocab=vocab, merges=BYTE_MERGES, additional_special_tokens=turns)
    return with_beginning(made, "<BOS_TOKEN> $A")


def unigram(normalizer: Any = None, whitespace: bool = False, single: str = "$A </s>") -> Any:
    """A Unigram model as T5's, whose normaliser and pre-tokenizer may lose white space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = spm_vocab(["<pad>", "</s>", "<unk>", "<extra_id_0>"], [("▁", "W"), ("i", "s"), ("▁", "is")])
    model = models.Unigram([(word, -1.0 - len(word) % 3) for word in words], unk_id=2, byte_fallback=True)
    tokenizer = Tokenizer(model)
    metaspace = pre_tokenizers.Metaspace("▁", "always", split=True)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]) if whitespace else metaspace
    )
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "always", split=True)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    extra = ["<extra_id_0>"]
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=extra, **names)
    return with_beginning(made, single)


def t5() -> Any:
    """T5 with its own class: white space is lost."""
    from transformers import T5Tokenizer

    words = spm_vocab(["<pad>", "</s>", "<unk>"], [])
    return T5Tokenizer(vocab=[(word, -1.0) for word in words], extra_ids=1)


def bert() -> Any:
    """BERT: WordPiece, lower case, a space between words."""
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, *(f"##{c}" for c in CHARACTERS)]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)}, eos_token="[SEP]")


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    + CHATML.replace(
        "assistant\n{%", "assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{%"
    )
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.index0 == 0 else '') + "
    "m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] + eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
COHERE = (
    "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>"
    "{{ '<|USER_TOKEN|>' if m['role'] == 'user' else '<|CHATBOT_TOKEN|>' }}{{ m['content'].strip() }}"
    "<|END_OF_TURN_TOKEN|>{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<｜User｜>{{ m['content'] }}{% endif %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}{% endif %}"
    "{% if m['role'] == 'assistant' %}<｜Assistant｜>{{ m['content'] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
FALCON = (
    "{% for m in messages %}{{ 'User: ' if m['role'] == 'user' else 'Assistant: ' }}{{ m['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def phi3() -> Any:
    """Phi-3: its special tokens take the white space behind them."""
    from tokenizers import AddedToken

    made = prepending([], bos=None, eos_token="</s>")
    names = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    made.add_special_tokens({"additional_special_tokens": [AddedToken(n, rstrip=True, special=True) for n in names]})
    made.eos_token = "<|endoftext|>"
    return made


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        make: Makes its tokenizer.
        begins: Names of the tokens before every text.
        ends: Names of the tokens that end an answer.
        template: Chat template.
        refused: What the message says where the tokenizer cannot be used.
    """

    make: Callable[[], Any]
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ("</s>",)
    template: str | None = None
    refused: str | None = None

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer with its template."""
        made = self.make()
        made.chat_template = self.template
        return made


HEADERS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SENTENCE = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]


def _llama3() -> Any:
    made = byte_level(HEADERS, bos_token=HEADERS[0], eos_token=HEADERS[1])
    return with_beginning(made, "<|begin_of_text|> $A")


def _deepseek() -> Any:
    return with_beginning(byte_level(SENTENCE, bos_token=SENTENCE[0], eos_token=SENTENCE[1]), f"{SENTENCE[0]} $A")


def _opt() -> Any:
    return with_beginning(byte_level(["</s>"], split=False, bos_token="</s>", eos_token="</s>"), "</s> $A")


def _language_code() -> Any:
    made = prepending(["eng_Latn"], bos=None)
    return with_beginning(made, "eng_Latn $A </s>")


def _two_tokens() -> Any:
    made = byte_level(["<sop>", "[gMASK]", "<|user|>", "<|end|>"], bos_token="[gMASK]", eos_token="<|end|>")
    return with_beginning(made, "[gMASK] <sop> $A")


def _encoder() -> Any:
    return with_beginning(byte_level(["[CLS]", "[SEP]"], cls_token="[CLS]", eos_token="[SEP]"), "[CLS] $A [SEP]")


def _squeezed() -> Any:
    from tokenizers import Regex, normalizers

    return unigram(normalizers.Replace(Regex(" {2,}"), " "))


def _prefix_space() -> Any:
    return gpt2(add_prefix_space=True)


IM = ["<|im_start|>", "<|im_end|>"]

FAMILIES = {
    "Gemma": Family(gemma, ("<bos>",), ("<eos>", "<end_of_turn>"), GEMMA),
    "Llama 2": Family(lambda: prepending([]), ("<s>",), template=LLAMA2),
    "Llama 2, class": Family(llama_class, ("<s>",), template=LLAMA2),
    "Llama 2, legacy class": Family(lambda: llama_class(legacy=True), ("<s>",), template=LLAMA2),
    "CodeLlama": Family(code_llama, ("<s>",), template=LLAMA2),
    "Mistral, instructions as tokens": Family(
        lambda: prepending(["[INST]", "[/INST]"]), ("<s>",), template=LLAMA2.replace("' [/INST]'", "'[/INST]'")
    ),
    "TinyLlama": Family(lambda: prepending(["<|user|>", "<|assistant|>"]), ("<s>",), template=ZEPHYR),
    "Yi": Family(
        lambda: prepending(["<|startoftext|>", *IM], bos=None, eos_token="<|endoftext|>"),
        (),
        ("<|endoftext|>", "<|im_end|>"),
        CHATML,
    ),
    "Phi-3": Family(phi3, (), ("<|endoftext|>", "<|end|>"), PHI3),
    "Llama 3": Family(_llama3, ("<|begin_of_text|>",), ("<|end_of_text|>", "<|eot_id|>"), LLAMA3),
    "Qwen, base": Family(qwen, (), ("<|endoftext|>", "<|im_end|>"), QWEN),
    "SmolLM": Family(lambda: gpt2(IM, eos_token="<|im_end|>"), (), ("<|im_end|>",), CHATML),
    "GPT-2": Family(gpt2, (), ("<|endoftext|>",)),
    "GPT-NeoX": Family(gpt_neox, (), ("<|endoftext|>",)),
    "Falcon": Family(lambda: byte_level(["<|endoftext|>"], eos_token="<|endoftext|>"), (), ("<|endoftext|>",), FALCON),
    "BLOOM": Family(lambda: byte_level(["<s>", "</s>"], split=False, bos_token="<s>", eos_token="</s>")),
    "OPT": Family(_opt, ("</s>",)),
    "Cohere": Family(cohere, ("<BOS_TOKEN>",), ("<|END_OF_TURN_TOKEN|>",), COHERE),
    "DeepSeek": Family(_deepseek, (SENTENCE[0],), (SENTENCE[1],), DEEPSEEK),
    "language code": Family(_language_code, ("eng_Latn",)),
    "GLM, two tokens": Family(_two_tokens, ("[gMASK]", "<sop>"), ("<|end|>",)),
    "encoder with bytes": Family(_encoder, ("[CLS]",), ("[SEP]",)),
    "Unigram": Family(unigram),
    "T5": Family(t5, refused="no exact round trip"),
    "Unigram that squeezes spaces": Family(_squeezed, refused="no exact round trip"),
    "BERT": Family(bert, refused="no exact round trip"),
    "GPT-2 with a prefix space": Family(_prefix_space, refused="no exact round trip"),
}
"""Family by name."""

USED = [name for name, family in FAMILIES.items() if family.refused is None]
REFUSED = [name for name, family in FAMILIES.items() if family.refused is not None]


def with_holes() -> Any:
    """Bytes in which ids 5 to 9 are no token, and a token of the id 400: more ids than tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {word: i if i < 5 else i + 5 for i, word in enumerate(words)} | {"is": 400}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("i", "s")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
