"""How many tokens a prompt is, as far as that can be told without the tokenizer. Pure; used by `consumer.ollama`.

The server's tokenizer has no endpoint (facts/ollama.md §1.1), so the ratio of characters to tokens is learnt per model
from the prompts that it has counted. Two questions are answered with it: does this prompt with its answer fit into
num_ctx at all, and did the server count so few tokens that it must have cut the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from consumer.errors import PromptTooLong
from consumer.ports import Message, ModelRequest


@dataclass(frozen=True, slots=True)
class PromptSize:
    """What is known of a prompt without its tokens.

    - `weight`: its ASCII characters, in letters.
    - `other`: its characters beyond ASCII: a good tokenizer has words of them, a small one cuts each into bytes.
    - `words`: words, and groups of three digits. No token spans two of them.
    """

    weight: int
    other: int
    words: int

    @classmethod
    def of(cls, messages: Iterable[Message]) -> PromptSize:
        """Measure: a run of one sign or blank is one, a digit weighs four letters, a sign two.

        Measured with SmolLM2's tokenizer on our prompts, prose, code and JSON: 3.3 to 4.7 of these to a token, where
        plain characters are 2.1 to 4.7. A text of nothing but very long words has 14.
        """
        text = _RUN.sub(r"\1", "\n".join(message.content for message in messages))
        plain = text.encode("ascii", "ignore").decode("ascii")
        digits, signs = len(plain) - len(plain.translate(_NO_DIGITS)), len(plain) - len(plain.translate(_NO_SIGNS))
        return cls(len(plain) + 3 * digits + signs, len(text) - len(plain), len(_WORD.findall(text)))

    @property
    def plain(self) -> bool:
        """Whether a count of this prompt says something about ASCII text; a short one is mostly the template's."""
        return self.weight >= 500 and self.other * 50 <= self.weight


_WORD = re.compile(r"[^\W\d_]+|\d{1,3}")
_RUN = re.compile(r"([^\w]|_)\1+")
_NO_DIGITS = dict.fromkeys(range(ord("0"), ord("9") + 1))
_NO_SIGNS = {code: None for code in range(128) if not chr(code).isalnum() and not chr(code).isspace()}


class Budget:
    """What the prompts of one driver's models weigh. `num_ctx`: tokens of the context that every call asks for."""

    # Weight of a token before anything is measured, and at least: a low ratio may be that of one odd prompt.
    USUAL = 4.0
    # With it, a prompt is taken to have 6 letters to a token (seen: at most 4.7), and never more tokens than words. A
    # wrong refusal ends the job for good; a prompt let through in error is refused by the server (§1.4).
    MARGIN = 1.5
    # A count below this part of the estimate is not the whole prompt (§1.4).
    WHOLE = 0.7
    LEARNING = 0.2

    def __init__(self, num_ctx: int) -> None:
        self._num_ctx = num_ctx
        self._ratios: dict[str, float] = {}

    def admit(self, model: str, request: ModelRequest) -> PromptSize:
        """The prompt's size, for `cut`, if it can fit.

        Raises:
            PromptTooLong: even with few tokens to the prompt, the answer does not fit behind it.
        """
        size = PromptSize.of(request.messages)
        least = min(size.words, int((size.weight + size.other) / (self._ratio(model) * self.MARGIN)))
        if least + request.max_tokens > self._num_ctx:
            raise PromptTooLong(
                f"the prompt for {model!r} has at least {least} tokens, and with {request.max_tokens} for the answer "
                f"that passes num_ctx {self._num_ctx}: raise OLLAMA_NUM_CTX or shorten the prompt"
            )
        return size

    def estimate(self, model: str, size: PromptSize) -> int:
        """Tokens of the prompt's ASCII part: rather too few than too many."""
        return int(size.weight / self._ratio(model))

    def cut(self, model: str, size: PromptSize, counted: int) -> bool:
        """Whether the server seems to have cut a prompt of which it counted so many tokens; learns from it if not.

        Both recorded generations count cached tokens, too. 0.30.0 alone does not (§1.2), and is suspected in vain.
        """
        if not counted:
            return False
        plain, usual = size.plain, self._ratio(model)
        if self._at_a_limit(size, counted) or (plain and counted < self.WHOLE * size.weight / usual):
            return True
        if plain:
            self._ratios[model] = max(self.USUAL, usual + self.LEARNING * (size.weight / counted - usual))
        return False

    def _at_a_limit(self, size: PromptSize, counted: int) -> bool:
        """0.24 cuts to num_ctx, 0.33 to num_ctx / 2 + 2; only what has more bytes than that can have been cut."""
        half = counted - self._num_ctx // 2
        full = counted >= self._num_ctx - 1
        return (full or 1 <= half <= 3) and size.weight + 3 * size.other > self._num_ctx

    def _ratio(self, model: str) -> float:
        return self._ratios.get(model, self.USUAL)
