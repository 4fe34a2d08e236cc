"""What the steps of all attempts share: the driver, the lanes, the models, and what is known of their speed and loads.

Made by the worker (and by an evaluation); used by the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loguru import logger

from consumer.lanes import Lanes, StepName
from consumer.metrics import Observer
from consumer.ollama import LOAD_SIGN_MS, Answer, Ollama
from consumer.recovery import Recovery
from consumer.speed import Speeds


@dataclass(frozen=True, slots=True)
class Workbench:
    """What steps work with: the driver, the lanes that keep models apart, and the model of each kind of step.

    `digests` are by canonical name, and those of the models in memory once they have been loaded.
    """

    ollama: Ollama
    lanes: Lanes
    recovery: Recovery
    speeds: Speeds
    models: Mapping[StepName, str]
    digests: dict[str, str]
    load_clock: float
    first_token_clock: float
    observer: Observer = field(default_factory=Observer)

    async def load(self, model: str) -> None:
        """Have the model in memory; what the server holds after a load is looked at.

        Raises:
            JobError: as the driver's `preload`.
        """
        async with self.lanes.loading:
            took = await self.ollama.preload(model)
            if took > LOAD_SIGN_MS:
                self.speeds[model].loads += 1
                loaded = await self.ollama.ps()
                self.lanes.observe(loaded)
                self.digests.update((entry.name, entry.digest) for entry in loaded)

    def measure(self, model: str, answer: Answer) -> None:
        """Learn the model's speed from an answer; say when it becomes slow, and when it is good again."""
        speed = self.speeds[model]
        if not speed.saw(answer.figures.output_tokens, answer.figures.tokens_per_second):
            return
        self.ollama.doubt_gpu(model, speed.slow)
        if speed.slow:
            logger.warning("{}", speed.alarm(model))
        else:
            logger.info("{!r} writes {:.1f} tokens/s again", model, speed.last)
