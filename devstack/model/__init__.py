"""The embedded model server: Ollama's native API over llama.cpp with a small real model, for development and tests."""

from devstack.model.faults import Fault, Faults
from devstack.model.server import ModelServer

__all__ = ["Fault", "Faults", "ModelServer"]
