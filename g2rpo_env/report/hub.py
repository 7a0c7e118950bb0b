"""The Hugging Face Hub: a run's newest policy, its card and its metrics, uploaded in one commit.

Weights go as an ordinary Hugging Face folder; optimiser states and other pickles stay here. The token is the one of
``hf auth login``; nothing is stored.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2rpo_env.errors import ConfigurationError, StorageError
from g2rpo_env.report.card import CURVES, make_card, read_config
from g2rpo_env.report.page import make_page, write_page
from g2rpo_env.report.reader import is_inside
from g2rpo_env.report.run_folder import EVALUATIONS, METRICS, RESULT, RunFolder

POLICY_FILES = re.compile(
    r"config\.json|generation_config\.json|.*\.safetensors|.*\.safetensors\.index\.json|tokenizer.*\.json|"
    r"special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|tokenizer\.model|chat_template\.\w+"
)
"""Names of the files of a policy; none of them is a pickle."""

RUN_FILES = (METRICS, EVALUATIONS, RESULT, CURVES)

SPACE = """---
title: {title}
sdk: static
app_file: index.html
pinned: false
---

Groups, tokens and curves of the training of [{repo}](https://huggingface.co/{repo}), recorded by g2rpo-env.
"""


@dataclass(frozen=True)
class Upload:
    """What goes into one repository.

    Attributes:
        repo: Its name.
        kind: ``model`` or ``space``.
        files: Name there -> file or content.
    """

    repo: str
    kind: str
    files: dict[str, Path | bytes]

    @property
    def bytes(self) -> int:
        """Number of bytes of all files."""
        return sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in self.files.values())


def push(
    run: str | Path,
    repo: str,
    *,
    private: bool = False,
    report: bool = False,
    licence: str | None = None,
    api: Any = None,
) -> list[str]:
    """Upload the newest policy of a run with its card and its metrics, and return the addresses.

    Everything is made and checked before anything is uploaded.

    Args:
        run: Run folder of any command, with a checkpoint.
        repo: ``user/name`` on the Hub; made if it does not exist.
        private: Whether a new repository is private.
        report: Whether the page of the run goes into a static Space, ``user/name-report``.
        licence: Licence of the model, by the Hub's names; see :func:`~g2rpo_env.report.card.make_card`.
        api: A ``huggingface_hub.HfApi``; None makes one.

    Raises:
        ConfigurationError: the run, its checkpoint or the name of the repository is none.
        StorageError: the Hub did not take it.
    """
    run = Path(run)
    check_repo(repo)
    read_config(run)
    with tempfile.TemporaryDirectory() as scratch:
        files = {**list_policy(run, Path(scratch)), **list_run(run)}
        card = make_card(run, repo, licence)
        uploads = [Upload(repo, "model", {**files, "README.md": str(card).encode("utf-8")})]
        if report:
            uploads.append(make_space(run, repo, Path(scratch)))
        return [upload(one, private, api) for one in uploads]


def check_repo(repo: str) -> None:
    """Raise ConfigurationError unless a name is one of a repository of a user or an organisation."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("it names no user")
    except HFValidationError as error:
        reason = str(error).rstrip(".")
        raise ConfigurationError(f"repo={repo!r} must be user/name, as the Hub takes it: {reason}") from None


def list_policy(run: Path, scratch: Path) -> dict[str, Path | bytes]:
    """Return the files of the newest policy of a run by name; an adapter is added to its model first.

    Args:
        run: The run folder.
        scratch: A folder for what has to be written first.

    Raises:
        ConfigurationError: there is no checkpoint, or it holds no weights in the form of Hugging Face.
    """
    saved = RunFolder(run).checkpoints()
    if not saved:
        raise ConfigurationError(f"run={str(run)!r} must have a checkpoint, and has none yet")
    folder = saved[-1]
    if (folder / "adapter_config.json").is_file():
        folder = merge_adapter(folder, scratch / "policy")
    files: dict[str, Path | bytes] = {
        one.name: one
        for one in sorted(folder.iterdir())
        if one.is_file() and is_inside(one, folder) and POLICY_FILES.fullmatch(one.name)
    }
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        raise ConfigurationError(
            f"run={str(run)!r}: its newest checkpoint, {saved[-1].name}, must hold config.json and *.safetensors"
        )
    return files


def merge_adapter(folder: Path, out: Path) -> Path:
    """Write the model of a LoRA checkpoint with the adapter's weights added, and return where it lies."""
    from g2rpo_env.agents.policy import lora
    from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy

    policy = CausalLMPolicy.from_pretrained(folder)
    lora.merge(policy.model).save_pretrained(out)
    policy.tokenizer.save_pretrained(out)
    return out


def list_run(run: Path) -> dict[str, Path | bytes]:
    """Return the files of a run that say how its training went; config.json is not one: it names paths."""
    return {name: run / name for name in RUN_FILES if (run / name).is_file() and is_inside(run / name, run)}


def make_space(run: Path, repo: str, scratch: Path) -> Upload:
    """Return the static Space with the page of a run."""
    write_page(make_page([run]).html, scratch / "index.html")
    title = repo.rpartition("/")[2]
    readme = SPACE.format(title=title, repo=repo).encode("utf-8")
    return Upload(f"{repo}-report", "space", {"index.html": scratch / "index.html", "README.md": readme})


def upload(what: Upload, private: bool, api: Any = None) -> str:
    """Make a repository if there is none, put the files into it in one commit, and return its address.

    Raises:
        StorageError: the Hub did not take them.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi() if api is None else api
    operations = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(one) if isinstance(one, Path) else one)
        for name, one in what.files.items()
    ]
    sdk = {"space_sdk": "static"} if what.kind == "space" else {}
    try:
        url = api.create_repo(what.repo, repo_type=what.kind, private=private, exist_ok=True, **sdk)
        api.create_commit(
            what.repo, operations, commit_message="Policy, card and metrics, by g2rpo-env push", repo_type=what.kind
        )
    except Exception as error:  # errors of the Hub, of the network, of a missing token
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StorageError(
            f"repo={what.repo!r} could not be uploaded ({reason:.300}); hf auth login gives a token"
        ) from (error)
    return str(url)
