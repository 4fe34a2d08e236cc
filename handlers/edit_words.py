"""What the words of an edit speak of: adding, changing, removing, and the nodes they name. Used by edit, editing."""

from __future__ import annotations

import re
import string

from handlers.draft import Draft, Node
from handlers.search import named_types

_REMOVES = re.compile(
    r"\b(?:remove|delete|removing|deleting|be (?:removed|deleted)|drop|get rid|take out)\b"
    r"|\b(?:entfern\w*|lösch\w*|elimin\w*|quita\w*|borra\w*|supprim\w*"
    r"|enl[eè]v\w*|retire[rz]\b|retira\w*|apaga\w*|rimuov\w*|verwijder\w*|удал\w*|убер\w*)|削除|消して|删除|移除|刪除|삭제|हटा|احذف"
)
# These speak of removing only together with the name of a node that is there.
_REPLACES = re.compile(
    r"\b(?:without|instead|replac\w*|no longer|swap\w*|ersetz\w*|statt|reempla\w*|rempla\w*"
    r"|sustit\w*|substit\w*|замен\w*)|置き換|替换|替換|대신"
)
# "Do not remove", and new steps that delete something.
_NOT = re.compile(
    r"\b(?:do not|don't|never|without|nicht|kein\w*|ne|no)\s+(?:\w+\s+){0,2}?"
    r"(?:remov|delet|drop|tak|chang|touch|los|entfern|lösch)\w*"
    r"|\b(?:entfern|lösch)\w*\s+(?:\w+\s+){0,3}?nicht"
    r"|\b(?:step|node|action|block)s? (?:to|that|which|for) (?:\w+ )?(?:remov|delet)\w*"
)
_ADDS = re.compile(
    r"\b(?:add\w*|insert\w*|(?:put|place) an?\b|append"
    r"|include|also|then|before|after|instead|replac\w*|plus|füge|hinzu\w*|ergänz\w*|añad\w*"
    r"|agreg\w*|ajout\w*|aggiung\w*|adicion\w*|voeg|добав\w*|statt|ersetz\w*|reempla\w*|rempla\w*)|追加|添加|추가|जोड़|أضف"
)
_CHANGES = re.compile(
    r"\b(?:chang\w*|updat\w*|set|renam\w*|replac\w*|make|use|modif\w*|edit|move|switch to|instead|fix|änder\w*|setz\w*"
    r"|cambia\w*|wijzig\w*|измен\w*|ersetz\w*|reempla\w*|rempla\w*)|変更|修改|变更|변경|बदल|غيّر"
)
_CLEARS = re.compile(r"\b(?:clear|empty|blank|leer\w*|vac[ií]\w*|vid(?:e|er|ez))\b|空")
_ALL = re.compile(
    r"\b(?:all|every|everything|both|rest|others?|steps|nodes|except|but|only|alle\w*|tod[oa]s|tou[st]\w*)\b"
)
# What stands here is to stay: "remove all except …", "keep … and remove the rest".
_KEEPS = re.compile(
    r"\b(?:except|apart from|other than|außer|bis auf|sauf|excepto|menos|salvo)\b[^.;]*"
    r"|\b(?:keep|leave|but|behalte)\b[^.;,]*?(?=\b(?:remove|delete|drop|entferne|lösche)\b|[.;,]|$)"
)
_INNER = frozenset(string.ascii_lowercase + string.digits + "_-")
# So many nodes go at once on an answer that the words of the prompt do not bear out.
MAX_UNNAMED = 2


def adds(prompt: str) -> bool:
    """Whether the words speak of something new."""
    return _ADDS.search(prompt.lower()) is not None


def changes(prompt: str) -> bool:
    """Whether the words speak of changing what is there."""
    return _CHANGES.search(prompt.lower()) is not None


def clears(prompt: str) -> bool:
    """Whether the words speak of emptying a value."""
    return _CLEARS.search(prompt.lower()) is not None


def removes(prompt: str) -> bool:
    """Whether the words speak of taking something away; "do not remove" and "add a step that deletes" do not."""
    return _plainly(prompt) or _REPLACES.search(_NOT.sub(" ", prompt.lower())) is not None


def candidates(draft: Draft, prompt: str) -> list[Node]:
    """The nodes whose removal the prompt may ask for; never a trigger.

    The named nodes, when the prompt names any; else, when it speaks plainly of removing, every step but those to keep.
    """
    stay = " ".join(_KEEPS.findall(prompt.lower()))
    steps = [node for node in draft.nodes if not draft.is_trigger(node) and not names(draft, stay, node)]
    if not removes(prompt) or _wants_all(prompt):
        return steps if removes(prompt) else []
    named = {node.id for node in draft.nodes if names(draft, prompt, node)}
    plainly = not named and _plainly(prompt)
    return [node for node in steps if node.id in named or plainly]


def removable(draft: Draft, prompt: str, wanted: list[Node]) -> list[Node]:
    """Those of the nodes that an answer wants to remove which may go; several that nothing names stay together."""
    allowed = {node.id for node in candidates(draft, prompt)}
    chosen = [node for node in wanted if node.id in allowed]
    sure = _wants_all(prompt) or any(names(draft, prompt, node) for node in chosen)
    return chosen if sure or len(chosen) <= MAX_UNNAMED else []


def _plainly(prompt: str) -> bool:
    return _REMOVES.search(_NOT.sub(" ", prompt.lower())) is not None


def _wants_all(prompt: str) -> bool:
    return _plainly(prompt) and _ALL.search(prompt.lower()) is not None


def names(draft: Draft, prompt: str, node: Node) -> bool:
    """Whether the prompt names the node: its id, its label, its type, or a name of its type."""
    kind = draft.catalog.get(node.type)
    words = {node.id, node.label, node.type, node.type.replace("_", " "), kind.label if kind else ""}
    # "Slack-Schritt" names Slack.
    text = f"{prompt} {prompt.replace('-', ' ')}".lower()
    return node.type in named_types(text, draft.catalog) or any(
        len(word) > 2 and stands(word.lower(), text) for word in words
    )


def stands(word: str, text: str) -> bool:
    """Whether the text holds the word as a whole; the borders are ASCII, as in `search`."""
    start = text.find(word)
    while start >= 0:
        if not {text[start - 1 : start], text[start + len(word) : start + len(word) + 1]} & _INNER:
            return True
        start = text.find(word, start + 1)
    return False
