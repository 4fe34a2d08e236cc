"""The honest figures of a job: what the model server counted, per step and in sum (contract §1, `observability`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumer.job import JsonObject

# Summed over the steps; every one comes from the model server's final chunk or the driver's clock (consumer/ollama.py).
SUMMED = (
    "model_load_time_ms",
    "queue_time_ms",
    "prompt_time_ms",
    "inference_time_ms",
    "total_time_ms",
    "input_tokens",
    "output_tokens",
)


# A workflow of a hundred nodes may need hundreds; the first tell what is the matter.
MAX_REPAIRS_SHOWN = 100


def summary(
    phases: Mapping[str, JsonObject], claimed: JsonObject, attempts: int, repairs: Sequence[JsonObject] = ()
) -> JsonObject:
    """The row's `observability`: sums, the first token's wait, speed and models, then each step's own figures.

    `phases` maps step name → figures of one or more calls added up; `claimed` says how the job was heard; `repairs`
    lists what code mended and what the model was asked to mend, `{by: code|model, code, pointer, message, …}`.
    """
    claimed = {**claimed, "repairs": list(repairs[:MAX_REPAIRS_SHOWN])} if repairs else claimed
    if not phases:
        return {**claimed, "attempts": attempts}
    total: JsonObject = {key: round(sum(figures.get(key) or 0 for figures in phases.values()), 3) for key in SUMMED}
    first = next(iter(phases.values()))
    return {
        **total,
        "time_to_first_token_ms": first.get("time_to_first_token_ms"),
        "tokens_per_second": _speed(total),
        "model": ", ".join(dict.fromkeys(str(figures.get("model")) for figures in phases.values())),
        "attempts": attempts,
        **claimed,
        "phases": dict(phases),
    }


def added(first: JsonObject | None, second: JsonObject) -> JsonObject:
    """Figures of two calls of one step (an answer and its repair) as one."""
    if first is None:
        return second
    both = {**second, **first, **{key: round((first.get(key) or 0) + (second.get(key) or 0), 3) for key in SUMMED}}
    return {**both, "tokens_per_second": _speed(both), "calls": first.get("calls", 1) + 1}


def _speed(figures: JsonObject) -> float | None:
    """Output tokens per second of inference; None when nothing was generated."""
    milliseconds = figures["inference_time_ms"]
    return round(figures["output_tokens"] / milliseconds * 1000, 2) if milliseconds else None
