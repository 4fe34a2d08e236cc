"""The clocks of a model call: what the user set, and what the hardware means for the rest."""

from __future__ import annotations

import json

import pytest

from consumer.clocks import ON_GPU, Clocks, ClockSettings
from consumer.loaded import LoadedModel, loaded_models
from consumer.ollama import Ollama
from tests.ollama_replay import RECORDED


@pytest.mark.parametrize(("on_gpu", "clocks"), [(False, Clocks()), (True, ON_GPU)])
def test_what_is_not_set_follows_the_hardware(on_gpu: bool, clocks: Clocks) -> None:
    assert ClockSettings().clocks(on_gpu=on_gpu) == clocks


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_is_set_holds_on_any_hardware(on_gpu: bool) -> None:
    given = ClockSettings(load=1, first_token=2, between_tokens=3, total=4)
    assert given.clocks(on_gpu=on_gpu) == Clocks(load=1, first_token=2, between_tokens=3, total=4)


async def test_a_model_on_the_gpu_gets_the_shorter_clocks_unless_its_speed_speaks_against_it() -> None:
    ollama = Ollama("http://127.0.0.1:9", clocks=Clocks(), gpu_clocks=ON_GPU)
    assert ollama.clocks_of("mistral:7b") == Clocks()
    ollama.learn([LoadedModel("mistral:7b", 10, 10), LoadedModel("qwen2.5:7b", 10, 4)])
    assert [ollama.clocks_of(model) for model in ("Mistral:7b", "qwen2.5:7b")] == [ON_GPU, Clocks()]
    ollama.doubt_gpu("mistral:7b", True)
    assert ollama.clocks_of("mistral:7b") == Clocks()
    ollama.doubt_gpu("mistral:7b", False)
    assert ollama.clocks_of("mistral:7b") == ON_GPU


def test_a_model_that_waits_for_its_end_is_told_by_an_expiry_in_the_past() -> None:
    row = {"name": "a", "size": 5, "size_vram": 0, "digest": "d"}
    past, future, none = "2020-01-01T00:00:00.123456789Z", "2319-01-01T00:00:00Z", "soon"
    told = loaded_models({"models": [{**row, "expires_at": at} for at in (past, future, none)]})
    assert [entry.stopping for entry in told] == [True, False, False]
    assert {(entry.name, entry.size, entry.digest, entry.on_cpu, entry.on_gpu) for entry in told} == {
        ("a:latest", 5, "d", True, False)
    }


@pytest.mark.parametrize("trace", ["0.33/ps.name.full", "0.24/ps.name.full"])
def test_the_recorded_servers_list_a_model_on_the_cpu(trace: str) -> None:
    (entry,) = loaded_models(json.loads(RECORDED[trace].payload))
    assert (entry.name, entry.on_cpu, entry.on_gpu) == ("mistral:7b", True, False)
    assert entry.size > 0
