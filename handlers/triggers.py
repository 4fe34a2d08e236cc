"""The words that state a trigger, in the languages that users write in. Read by `facts`."""

from __future__ import annotations

import re

# Units of an interval, by the letter that the engine writes.
_UNITS = {
    "s": r"seconds?|secs?|sekunden?|secondes?|segundos?|second[oi]|seconden|секунд\w*|秒|초|सेकंड",
    "m": r"minutes?|mins?|minuten?|minutos?|minut[oiy]?|минут\w*|分鐘|分钟|分|분|मिनट|دقيقة|دقائق",
    "h": r"hours?|hrs?|stunden?|heures?|horas?|or[ae]|uur|godzin\w*|час(?:а|ов)?|小時|小时|時間|시간|घंटे|ساعة|ساعات",
}
_UNIT = "|".join(f"(?P<{letter}>{words})" for letter, words in _UNITS.items())
INTERVAL = re.compile(
    r"(?:(?<!\w)(?:every|each|alle|jede|toutes les|cada|ogni|elke?|каждые|каждый|co|كل|हर)\s+|每隔?\s*)"
    rf"(?:(?P<count>\d{{1,4}}|other|few)\s*)?(?:{_UNIT})(?![a-zà-ÿ])"
    r"|(?P<each>\d{1,4})\s*(?:(?P<s2>秒|초)|(?P<m2>分|분)|(?P<h2>時間|시간))\s*(?:ごと|おき|毎|마다)"
    r"|\b(?:hourly|stündlich)\b|毎時|매시간",
    re.IGNORECASE,
)

_WEEKDAY = (
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch"
    r"|lunes|martes|mi[eé]rcoles|jueves|viernes|s[aá]bado|domingo|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
    r"|luned[iì]|marted[iì]|mercoled[iì]|gioved[iì]|venerd[iì]|segunda|ter[cç]a|quarta|quinta|sexta"
)
_SCHEDULE = "|".join(
    (
        r"\b(?:every|each) (?:\w+ )?(?:day|morning|evening|night|noon|weekday|weekend|week|month|quarter|year)s?\b",
        rf"\b(?:every|each|on|jede[nr]?|cada|todos los|chaque|tous les|ogni|elke|toda) (?:{_WEEKDAY})",
        rf"\b(?:{_WEEKDAY})s at \d",
        r"\b(?:daily|weekly|nightly|monthly|quarterly|at midnight|at noon|cron)\b",
        r"\bon a schedule\b|^at \d|^\W*schedule\W*$",
        r"\b(?:once|twice) (?:a|per|every) (?:day|week|month|year)\b|\bon (?:weekdays|weekends|workdays)\b",
        r"\bon the (?:first|last|\d{1,2}(?:st|nd|rd|th)) (?:day |\w+day )?of (?:the|each|every|a) (?:month|year)\b",
        r"\bat the (?:start|beginning|end) of (?:the|each|every) (?:day|week|month|year)\b",
        r"\bjede[nrs]? (?:\w+ )?(?:tag|morgen|abend|nacht|woche|monat|jahr)\b",
        r"\b(?:täglich|wöchentlich|monatlich|werktags)",
        r"\b(?:cada|todos los|todas las) (?:d[ií]as?|mañanas?|noches?|tardes?|semanas?|mes(?:es)?)\b|\bdiariamente\b",
        r"\b(?:chaque|tous les|toutes les) (?:jours?|matins?|soirs?|nuits?|semaines?|mois)\b|\bquotidiennement\b",
        r"\bogni (?:giorno|mattina|sera|notte|settimana|mese)\b|\b(?:elke|iedere) (?:dag|ochtend|avond|week|maand)\b",
        r"\b(?:todos os|todas as|toda a?) ?(?:dias|manhãs?|noites?|semanas?)\b|\bdagelijks\b|\bcodziennie\b",
        r"\bкажд\w+ (?:день|утро|вечер|ночь|недел\w+|месяц)\b|\bежедневно\b|\bher (?:gün|sabah|akşam|hafta|ay)\b",
        r"毎[朝日週晩月夕]|每[天日周晚月年早]|每个?(?:星期|工作日|月)|(?<!구)매[일주월달]",
        r"(?<!\S)हर (?:दिन|रोज|सुबह|शाम|रात|हफ्ते|सप्ताह|महीने)|प्रतिदिन|रोज़ाना",
        r"(?<!\w)كل (?:يوم|صباح|مساء|ليلة|أسبوع|شهر)(?!\w)|يوميا",
    )
)
_FORM = "|".join(
    (
        r"\b(?:sign-?up|contact|registration|feedback|web|online|survey|application|order|lead|intake|request) form\b",
        r"\b(?:a|the|this|our|my|html|custom) form\b(?! of\b)|^\W*form\W*$",
        r"\bform (?:is |gets |trigger|submission|with|for|asking|where|comes? in|arrives)",
        r"\b(?:fills? (?:in|out)|submits?|completes?|sends?(?: in)?) (?:an?|the|our|my|this) (?:\w+ )?form\b(?! of\b)",
        r"\bsurvey\b|\bquestionnaire\b",
        # Not the Spanish verbs "formular una pregunta" and "reformular".
        r"(?<!re)formular(?:e|en|s|z)?\b(?! una?\b)|\bformul(?:ario|ário|aire|ier)s?\b",
        # Not "platform", "uniform": a form is sent, filled in or answered.
        r"(?<!プラット)フォーム(?:が|に|から|を|へ)[^。、]{0,8}?(?:送信|入力|回答|記入|投稿|届|提出)",
        r"(?:提交|填写)[^，。]{0,6}表[单單]|表[单單][^，。]{0,4}(?:提交|填写)|(?:양식|폼)[^,.]{0,6}제출",
        r"फ़?ॉर्म (?:भर|जमा|सबमिट)|\b(?:заполн|отправ)\w+ (?:\w+ )?форм[аыу]",
        # Not "language model", which is the same word.
        r"(?:إرسال|تعبئة|ملء|تقديم|استلام) (?:ال)?نموذج|استمارة",
    )
)
_CHAT = (
    r"\bchat ?(?:bot|message|trigger|window|widget)\b|\b(?:in|from|via|on) (?:the |a )?chat\b|^\W*chat\W*$"
    r"|\bwhen(?:ever)? (?:someone|a user|a customer|somebody|anyone) (?:asks|writes|chats|types)"
    r"|\b(?:im|en el|dans le|nella|no|in de) chat\b|チャット(?:で|から|ボット)|聊天(?:中|机器人)|채팅(?:에서|봇)"
)
# A service's incoming webhook is where a step writes to, not what starts the workflow.
_WEBHOOK = (
    r"(?<!slack )(?<!discord )(?<!teams )(?<![a-z0-9_-])webhook(?![a-z0-9_-])"
    r"|\bhttp (?:call|request) (?:comes|arrives|is received)"
    r"|\b(?:incoming|receives?|receiving) (?:an? )?(?:http|post|api|data|request|payload)|\bpost request to\b"
)
# Something happens elsewhere: only a webhook lets another system tell us.
_EVENT = (
    r"\b(?:when|whenever|once|if|after|as soon as|on|every time|each time|any time|the moment) (?:\w+ ){0,2}?"
    r"(?:an?|the|new|any|every|each|someone|somebody|anyone|customers?|users?|people)\b[^.,;]{0,60}?"
    r"\b(?:arrives?|comes|created|placed|received|added|opened|posted|happens|fails|uploaded|paid|updated"
    r"|signs? up|changes|submitted|is|registers?|subscribes?|buys?|pays?|orders?|cancels?|books?|joins?"
    r"|closed|merged)\b"
    r"|^\W*(?:whenever|each time|every time|any time)(?! (?:i|you|we|it)\b)\b"
    r"|(?:^|[.!?]\s+)(?:immer wenn|wenn|sobald|quand|lorsqu|dès qu|cuando|quando|appena|wanneer|zodra|когда|gdy|kiedy)"
    r"|(?:^|[.!?]\s+)(?:عند|जब )"
)

# In this order: the first pattern that matches decides (contract §6, triggers).
TRIGGERS = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "error_trigger",
            r"(?:another|a|any|the|other|some) workflow (?:fails|crashes|errors|breaks)|workflow failure"
            r"|(?:anderer|ein) workflow fehlschlägt|(?:autre|un) workflow échoue|fall[ea] otro (?:workflow|flujo)",
        ),
        (
            "workflow_trigger",
            r"(?:called|started|triggered) (?:by|from) another workflow|when (?:another|the \w+) workflow",
        ),
        ("interval", INTERVAL.pattern),
        ("schedule", _SCHEDULE),
        (
            "manual_trigger",
            r"\b(?:manually|manual(?: trigger| start)?|on demand|i (?:click|press)|button|by hand)\b"
            r"|\b(?:manuell|manualmente|manuellement|auf knopfdruck)\b|вручную|手動で|手动|수동",
        ),
        ("form", _FORM),
        ("chat_trigger", _CHAT),
        ("webhook", _WEBHOOK),
        ("webhook", _EVENT),
        # A time of day alone, when nothing else starts it.
        ("schedule", r"\bat (?:\d{1,2}(?::\d\d)? ?(?:am|pm|o'clock)|(?:[01]?\d|2[0-3]):[0-5]\d)\b"),
    )
)


def interval_of(text: str) -> str:
    """The interval that the text states, as the engine writes it (`5m`); an hour when it says "hourly"."""
    match = INTERVAL.search(text)
    groups = match.groupdict() if match else {}
    letter = next((name for name in ("s", "m", "h", "s2", "m2", "h2") if groups.get(name)), "h")
    said = groups.get("count") or groups.get("each") or "1"
    count = {"other": "2", "few": "5"}.get(said.lower(), said)
    return f"{count}{letter[0]}"
