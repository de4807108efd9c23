"""Checkpoints of transformers: a local directory or a hub id, and their tokenizer; no remote code, safetensors only."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from optbench.errors import UserError
from optbench.models.stated import Identity, identity_of, stated_as
from optbench.spec import content_hash

if TYPE_CHECKING:
    from torch import nn

    from optbench.models.tokenizers import HubTokenizer

HUB_SECONDS = 10.0
"""How long the hub may take to say which commit a branch is."""
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx")
"""Files beside a tokenizer that say nothing about it."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_local(path: str) -> bool:
    """Whether a path means a directory: it exists, or it is written like one."""
    return Path(path).exists() or path.startswith((".", "/", "~"))


def checkpoint_identity(path: str, revision: str) -> Identity:
    """What tells this checkpoint from all others: the hash of a directory's files, or a hub id with its commit.

    Where it is not here, it is the one that results state: see `optbench.models.stated`. Raises UserError where nobody
    states it and there is no such checkpoint, or nobody knows its commit: it could not be loaded either.
    """
    name = name_of_checkpoint(path, revision)
    return _identity(name, path, revision, lambda: _directory_hash(_directory(path)), folder=_directory)


def tokenizer_identity(path: str, revision: str) -> Identity:
    """What tells a tokenizer from all others: the hash of a folder's files, weights apart, or a hub id with its commit.

    Where it is not here, it is the one that results state. Raises UserError as `checkpoint_identity` does.
    """

    def content() -> str:
        files = [file for file in _tokenizer_folder(path).iterdir() if file.is_file() and file.suffix not in WEIGHTS]
        lines = [f"{file.name} {content_hash(file)}" for file in sorted(files)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    return _identity(name_of_tokenizer(path, revision), path, revision, content, folder=_tokenizer_folder)


def name_of_checkpoint(path: str, revision: str) -> str:
    """What statements call a checkpoint."""
    return f"{path}@{revision}"


def name_of_tokenizer(path: str, revision: str) -> str:
    """What statements call a tokenizer: its identity is not that of the checkpoint that it lies beside."""
    return f"tokenizer of {path}@{revision}"


def _identity(
    name: str, path: str, revision: str, content: Callable[[], str], *, folder: Callable[[str], Path]
) -> Identity:
    def read() -> Identity:
        return {"content": content()} if is_local(path) else {"hub": path, "commit": _known_commit(path, revision)}

    is_here = _is_folder(path, folder) if is_local(path) else _is_known(path, revision)
    return identity_of(name, read, is_here=is_here)


def _is_folder(path: str, folder: Callable[[str], Path]) -> bool:
    """Whether there is what `folder` looks for: an empty folder in the place of a checkpoint is none."""
    try:
        folder(path)
    except UserError:
        return False
    return True


def _is_known(path: str, revision: str) -> bool:
    """Whether this machine says, without asking the hub, which commit it is."""
    return bool(_COMMIT.fullmatch(revision)) or cached_commit(path, revision) is not None


@functools.lru_cache(maxsize=64)
def commit_of(hub_id: str, revision: str) -> str | None:
    """The commit of a branch: the one in the local cache, else the hub's; None where nobody knows. A commit written out
    is itself, and nobody is asked."""
    if _COMMIT.fullmatch(revision):
        return revision
    known = cached_commit(hub_id, revision)
    if known is not None:
        return known
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import build_hf_headers

    if constants.HF_HUB_OFFLINE:
        return None
    address = f"{constants.ENDPOINT}/api/models/{hub_id}/revision/{quote(revision, safe='')}"
    try:
        # The library's own calls try for half a minute where there is no network.
        with urlopen(Request(address, headers=build_hf_headers()), timeout=HUB_SECONDS) as answer:
            commit: str = json.load(answer)["sha"]
        # With this file the cache notes the commit, and from now on the branch may move without new keys.
        hf_hub_download(hub_id, "config.json", revision=revision)
    except (OSError, ValueError):
        return None
    return cached_commit(hub_id, revision) or commit


def cached_commit(hub_id: str, revision: str) -> str | None:
    """The commit that the local hub cache holds for a branch; None before the first download."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    if (cache / "snapshots" / revision).is_dir():
        return revision
    reference = cache / "refs" / revision
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def read_config(path: str, revision: str) -> dict[str, Any]:
    """The checkpoint's config.json. Raises UserError where there is none."""

    def load(where: str, commit: str) -> Any:
        from huggingface_hub import hf_hub_download

        file = Path(where) / "config.json" if is_local(path) else hf_hub_download(where, "config.json", revision=commit)
        return json.loads(Path(file).read_text(encoding="utf-8"))

    content: dict[str, Any] = _loaded(path, revision, load, folder=_directory)
    return content


def load_model(path: str, revision: str, *, attention: str) -> nn.Module:
    """The checkpoint's causal language model in float32, whatever it is stored in.

    Raises UserError where it cannot be had, or lacks weights: they would be random, and nobody would know.
    """

    def load(where: str, commit: str) -> Any:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        return AutoModelForCausalLM.from_pretrained(
            where,
            revision=commit,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )

    module, report = _loaded(path, revision, load, folder=_directory)
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{path}: the checkpoint lacks {len(missing)} tensors of its architecture: {missing[:3]} ...")
    found: nn.Module = _without_padding_index(module)
    return found


def load_tokenizer(path: str, revision: str) -> HubTokenizer:
    """The checkpoint's own tokenizer. Raises UserError where there is none."""
    from optbench.models.tokenizers import HubTokenizer

    return HubTokenizer(_loaded(path, revision, _read_tokenizer, folder=_directory))


def load_tokenizer_alone(path: str, revision: str) -> HubTokenizer:
    """The tokenizer of a folder that need not hold a model, or of a hub id. Raises UserError where there is none."""
    from optbench.models.tokenizers import HubTokenizer

    found = _loaded(path, revision, _read_tokenizer, folder=_tokenizer_folder)
    # What another model can read at once is no matter here, and no reason to warn.
    found.model_max_length = 1 << 62
    return HubTokenizer(found)


def _read_tokenizer(where: str, commit: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(where, revision=commit, trust_remote_code=False)


def _without_padding_index(module: nn.Module) -> nn.Module:
    # Padding never reaches a supervised position, so that it needs no exception. With one, the embedding of the padding
    # token gets no gradient, also where it is the end-of-sequence token, and its second derivatives are wrong.
    from torch import nn

    for part in module.modules():
        if isinstance(part, nn.Embedding):
            part.padding_idx = None
    return module


def _directory(path: str) -> Path:
    directory = Path(path).expanduser()
    if not (directory / "config.json").is_file():
        raise UserError(f"{path}: no checkpoint there (a directory with config.json and *.safetensors)")
    if not list(directory.glob("*.safetensors")):
        raise UserError(f"{path}: no *.safetensors there; weights in pickle files are refused, convert them first")
    return directory


def _tokenizer_folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir() or not list(folder.glob("token*.json")):
        raise UserError(f"{path}: no tokenizer there (a folder with tokenizer.json or tokenizer_config.json)")
    return folder


def _directory_hash(directory: Path) -> str:
    stamps = tuple(
        (str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(directory.rglob("*")) if f.is_file()
    )
    return _hash_of_stamps(str(directory), stamps)


@functools.lru_cache(maxsize=64)
def _hash_of_stamps(directory: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    # Gigabytes are hashed once per process, not once per cell; the stamps notice a file that was changed since.
    return content_hash(Path(directory))


def _loaded(path: str, revision: str, load: Callable[[str, str], Any], *, folder: Callable[[str], Path]) -> Any:
    """What `load` makes of a place and a commit, `folder` looking at a local place first; its ways of saying that there
    is nothing become one message."""
    from safetensors import SafetensorError

    local = is_local(path)
    where, commit = (str(folder(path)), revision) if local else (path, _known_commit(path, revision))
    try:
        return load(where, commit)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: {reason}" if local else _not_to_be_had(path, reason)) from error


def _known_commit(hub_id: str, revision: str) -> str:
    # Where results state it, nobody is asked: the hub may hold another one by now, or something else of this name. What
    # they state is no matter where the commit is known: they may state several.
    names = (name_of_checkpoint, name_of_tokenizer)
    if not _is_known(hub_id, revision) and any(stated_as(name(hub_id, revision)) for name in names):
        raise UserError(f"{hub_id}: is not here; the results that are read say which checkpoint it is, and no more")
    commit = commit_of(hub_id, revision)
    if commit is None:
        reason = f"no such directory here, not in the local cache at {revision!r}, and not found on the hub"
        raise UserError(_not_to_be_had(hub_id, reason))
    return commit


def _not_to_be_had(hub_id: str, reason: str) -> str:
    return (
        f"{hub_id}: this checkpoint cannot be loaded ({reason}). A hub id needs network access and, for gated models "
        "such as Llama and Gemma, an accepted licence and HF_TOKEN; a local directory works without either."
    )
