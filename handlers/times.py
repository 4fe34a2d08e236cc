"""The words of an interval and of a schedule, in the languages that users write in. Read by `triggers`."""

from __future__ import annotations

import re

# Units of an interval, by the letter that the engine writes.
_UNITS = {
    "s": r"seconds?|secs?|sekunden?|secondes?|segundos?|second[oi]|seconden|секунд\w*|saniye\w*|秒|초|सेकंड",
    "m": r"minutes?|mins?|minuten?|minutos?|minut[oiy]?|минут\w*|dakika\w*|分鐘|分钟|分|분|मिनट|دقيقة|دقائق",
    "h": r"hours?|hrs?|stunden?|heures?|horas?|or[ae]|uur|uren|godzin\w*|час(?:а|ов)?|saat\w*"
    r"|小時|小时|時間|시간|घंटे|ساعة|ساعات",
}
_UNIT = rf"(?:{'|'.join(_UNITS.values())})(?![a-zà-ÿ])"
# A number in words, in the languages with Latin letters: its value, and what stands for it.
_NUMBERS = {
    2: r"two|other|zwei|zweite|deux|dos|due|duas|dois|twee",
    3: r"three|drei|trois|tres|tre|três|drie",
    4: r"four|vier|quatre|cuatro|quattro|quatro",
    5: r"five|few|couple of|fünf|paar|cinq|cinco|cinque|vijf",
    6: r"six|sechs|seis|sei|zes",
    10: r"ten|zehn|dix|diez|dieci|dez|tien",
    12: r"twelve|zwölf|douze|doce|dodici|doze|twaalf",
    15: r"fifteen|fünfzehn|quinze|quince|quindici|vijftien",
    20: r"twenty|zwanzig|vingt|veinte|venti|vinte|twintig",
    30: r"thirty|dreißig|trente|treinta|trenta|trinta|dertig",
    45: r"forty[- ]five|fünfundvierzig|quarante-cinq|cuarenta y cinco|quarantacinque|quarenta e cinco|vijfenveertig",
}
_COUNT = rf"(?:\d{{1,4}}|{'|'.join(_NUMBERS.values())})"
_EVERY = (
    r"every|each|alle(?! or[ae]\b)|jede[nr]?|toutes les|tous les|chaque|cada|ogni|elke?|iedere?|om de|каждые"
    r"|каждый|каждую|co|her|كل|हर"
)
_HALF = (
    r"every half(?: an)?[- ]hour|(?:alle|jede) halbe(?:n)? stunde|\bhalbstündlich|toutes les demi[- ]heures"
    r"|cada media hora"
    r"|ogni mezz['’]?\s?ora|a cada meia hora|elk half ?uur|каждые полчаса"
)
_QUARTER = (
    r"every quarter(?: of an)?[- ]hour|(?:alle|jede) viertelstunde|\bviertelstündlich|tous les quarts d['’]heure"
    r"|cada cuarto de hora|ogni quarto d['’]ora|elk kwartier"
)
_TIMES = (
    r"(?P<times>once|twice|two times|three times|four times|six times|[2346] times) (?:an|a|per|every"
    r"|each) (?:hour|minute)\b"
)
INTERVAL = re.compile(
    rf"(?P<half>{_HALF})|(?P<quarter>{_QUARTER})|{_TIMES}"
    rf"|(?:(?<!\w)(?:{_EVERY})\s+|每隔?\s*|毎)(?:{_COUNT}[\s-]*)?{_UNIT}"
    rf"|(?<!\w){_COUNT}\s*(?:秒|초|分|분|時間|시간)\s*(?:ごと|おき|毎|마다)"
    rf"|(?<!\w){_COUNT}[ -](?:second|minute|hour|sekunden|minuten|stunden)[ -](?:steps|intervals?|takt|rhythmus"
    rf"|abstand)"
    rf"|\b(?:intervals?|interval[lo]{{1,2}}s?|intervalles?|abst[aä]nd(?:en)?|takt) (?:of|von|de|di"
    rf"|van) {_COUNT}[ -]?{_UNIT}"
    r"|\b(?:hourly|stündlich|minütlich|ежечасно)\b|毎時|매시간",
    re.IGNORECASE,
)

_WEEKDAY = (
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch"
    r"|(?:maan|dins|woens|donder|vrij|zater|zon)dag"
    r"|lunes|martes|mi[eé]rcoles|jueves|viernes|s[aá]bado|domingo|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
    r"|luned[iì]|marted[iì]|mercoled[iì]|gioved[iì]|venerd[iì]|segunda|ter[cç]a|quarta|quinta|sexta"
)
_SPAN = r"(?:day|week|month|quarter|year)"
_ENGLISH = (
    r"\b(?:every|each) (?:[\w-]+ ){0,2}?(?:day|morning|afternoon|evening|night|noon|midnight|lunch(?:time)?|weekday"
    r"|workday|weekend|week|fortnight|month|quarter|season|year)s?\b(?! of an? )",
    rf"\b(?:every|each|on|first|last) (?:\w+ ){{0,2}}?(?:{_WEEKDAY})s?\b",
    rf"\b(?:mon|tues|wednes|thurs|fri|satur|sun)days\b|\b(?:{_WEEKDAY})s? (?:at|by|around|um|om|à|a las|alle|às) \d",
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day (?:mornings?|afternoons?|evenings?|nights?|noon)\b",
    r"\bmon(?:day)?s?\s?(?:to|through|thru|till|until|-|–)\s?(?:fri|satur|sun)",
    # An adverb; "the daily report" says less, and stands in WEAK_SCHEDULE.
    r"\b(?:daily|weekly|nightly|monthly|quarterly|yearly|annually|fortnightly|bi-?weekly|bi-?monthly)"
    r"(?=\W*$|\s*[,.;:!–-]| (?:at|on|by|in|around|from|and)\b)",
    r"\bcron\b|\bon an? (?:\w+ )?schedule\b|\bscheduled? (?:to run|for|at)\b|^\W*schedule\W*$|^at \d",
    (
        r"\bon an? (?:daily|weekly|monthly|quarterly|yearly|nightly) basis\b|\b(?:at|around|by|before"
        r"|past) (?:midnight|noon|midday)\b"
    ),
    rf"\b(?:once|twice|thrice|\w+ times) (?:a|per|every|each|in a) {_SPAN}\b|\bonce (?:daily|weekly|monthly)\b",
    r"\b(?:weekdays|workdays|weekends)\b|\b(?:on|every|each|all) (?:working|work|business|school) days\b",
    r"\bon the (?:\d{1,2}(?:st|nd|rd|th)\b|(?:first|last|second|third|fourth) (?:\w+ )?day\b)",
    rf"\b(?:first|last|\d{{1,2}}(?:st|nd|rd|th)) (?:[\w-]+ ){{0,3}}?(?:of|in) (?:the|each|every|a) {_SPAN}\b",
    rf"\b(?:start|beginning|end|close|turn|middle) of (?:(?:the|each|every|a) )?(?:\w+ )?{_SPAN}\b",
    r"\b(?:month|quarter|year|week)[- ]end\b|\b(?:mornings|afternoons|evenings|nights|overnight)\b",
)
_GERMAN = (
    r"\b(?:jede[nrsm]?|alle) (?:\w+ ){0,2}?(?:tage?|morgen|mittag|abend|nacht|woche|wochenende|monate?|quartal|jahre?"
    r"|werktage?|arbeitstage?|wochen|sonntag|montag|mittwoch|freitag|samstag)\b",
    r"\b(?:täglich|wöchentlich|monatlich|vierteljährlich|quartalsweise|jährlich)\b|\b(?:werk|wochen)tags\b",
    (
        r"\b(?:morgens|mittags|abends|nachts|vormittags|nachmittags)\b|\b(?:mon|diens|donners|frei|sams|sonn)tags\b"
        r"|\bmittwochs\b"
    ),
    r"\b(?:am|zum|jeweils am) (?:ersten|letzten|\d{1,2}\.)(?: \w+)? (?:des|jede[sn]|eines|im)\b",
    r"\b(?:monats|quartals|wochen|jahres)(?:anfang|ende|beginn|erste[nr]?|letzte[nr]?|wechsel)\b|\bum mitternacht\b",
    r"\b(?:anfang|ende|beginn) (?:jede[sr]|des|der|eines|einer) (?:\w+ )?(?:tage?s|woche|monats|quartals|jahres)\b",
    r"\b(?:ein|zwei|drei|vier)mal (?:am|pro|im|in der|die|je) (?:tag|woche|monat|jahr)\b",
)
_FRENCH = (
    r"\b(?:chaque|tous les|toutes les) (?:\w+ ){0,2}?(?:jours?|matins?|midis?|soirs?|nuits?|semaines?|mois"
    r"|trimestres?"
    r"|ans?|années?|week-?ends?)\b",
    rf"\b(?:chaque|tous les|le|les) (?:{_WEEKDAY})s?\b|\bdu lundi au\b|\bjours ouvr(?:és|ables)\b",
    r"\b(?:quotidiennement|mensuellement|trimestriellement)\b|\bfois (?:par|chaque) (?:jour|semaine|mois|an)\b",
    r"\b(?:premier|dernier|1er|\d{1,2}) (?:\w+ ){0,2}?(?:du|de chaque|de tous les) mois\b|\b[àa] (?:minuit|midi)\b",
    r"\b(?:début|fin) (?:de|du|de chaque) (?:journée|semaine|mois|trimestre|année)\b",
)
_SPANISH = (
    (
        r"\b(?:cada|todos los|todas las) (?:\w+ ){0,2}?(?:d[ií]as?|mañanas?|noches?|tardes?|semanas?|mes(?:es)?"
        r"|trimestres?|años?)\b"
    ),
    (
        rf"\b(?:cada|todos los|los) (?:{_WEEKDAY})s?\b|\bde lunes a\b|\bd[ií]as (?:laborables|hábiles|útiles)\b"
        rf"|\bpor las (?:mañanas|tardes|noches)\b"
    ),
    r"\b(?:diariamente|a diario|semanalmente|mensualmente|trimestralmente|anualmente)\b",
    r"\b(?:primer|último|ultimo|\d{1,2}) (?:\w+ ){0,2}?(?:de cada|del|de todos los) (?:mes|semana|año|trimestre)\b",
    (
        r"\b(?:principios?|finales|final|fin|inicio|comienzos?) (?:de cada|del|de la|de) (?:d[ií]a|semana|mes"
        r"|trimestre|año)\b"
    ),
    (
        r"\b(?:vez|veces) (?:al|a la|por|cada) (?:d[ií]a|semana|mes|año)\b|\ba (?:la )?(?:medianoche|mediod[ií]a)\b"
        r"|\bal mediod[ií]a\b"
    ),
)
_ITALIAN = (
    (
        r"\b(?:ogni|tutti i|tutte le) (?:\w+ ){0,2}?(?:giorn[oi]|mattin[aoe]|ser[ae]|nott[ei]|settiman[ae]|mes[ei]"
        r"|trimestr[ei]|ann[oi])\b"
    ),
    rf"\b(?:ogni|tutti i|il) (?:{_WEEKDAY})\b|\bdal luned[iì] al\b|\bgiorni (?:feriali|lavorativi)\b",
    (
        r"\b(?:quotidianamente|settimanalmente|mensilmente|giornalmente)\b|\bvolt[ae] (?:al|alla|per) (?:giorno"
        r"|settimana|mese|anno)\b"
    ),
    (
        r"\b(?:primo|ultimo|\d{1,2}) (?:\w+ ){0,2}?(?:del|di ogni) mese\b|\b(?:inizio|fine) (?:del|della|di ogni"
        r"|di) (?:giornata|settimana|mese|anno)\b"
    ),
    r"\ba (?:mezzanotte|mezzogiorno)\b|\bfine mese\b",
)
_PORTUGUESE = (
    (
        r"\b(?:tod[ao]s?|cada)(?: [ao]s?)? ?(?:\w+ ){0,2}?(?:dias?|manhãs?|noites?|tardes?|semanas?|m[eê]s(?:es)?"
        r"|trimestres?|anos?)\b"
    ),
    rf"\b(?:tod[ao]s?|todas as|todos os|às|aos) (?:{_WEEKDAY})s?\b|\bdias úteis\b|\bde segunda a\b",
    r"\b(?:semanalmente|mensalmente|trimestralmente)\b|\b(?:vez|vezes) (?:por|ao|à) (?:dia|semana|mês|ano)\b",
    r"\b(?:primeiro|último|dia \d{1,2}) (?:\w+ ){0,2}?(?:do|de cada) mês\b|\bà meia[- ]noite\b|\bao meio[- ]dia\b",
    r"\b(?:início|começo|fim|final) (?:do|da|de cada) (?:dia|semana|mês|trimestre|ano)\b",
)
_DUTCH = (
    (
        r"\b(?:elke?|iedere?|alle) (?:\w+ ){0,2}?(?:dag(?:en)?|ochtend|middag|avond|nacht|week|weekend|maand|kwartaal"
        r"|jaar|werkdag(?:en)?)\b"
    ),
    (
        rf"\b(?:elke|iedere|op) (?:{_WEEKDAY})\b|\b(?:maan|dins|woens|donder|vrij|zater|zon)dags\b|\b(?:op"
        rf"|tijdens) werkdagen\b"
    ),
    (
        r"\b(?:dagelijks|wekelijks|maandelijks|doordeweeks)\b|'s (?:ochtends|morgens|middags|avonds|nachts)\b"
        r"|\bom middernacht\b"
    ),
    (
        r"\bkeer per (?:dag|week|maand|jaar)\b|\b(?:eerste|laatste|\d{1,2}e) (?:\w+ ){0,2}?van (?:de|elke"
        r"|iedere) maand\b"
    ),
    r"\b(?:begin|eind|einde) van (?:de|het|elke|iedere|elk) (?:dag|week|maand|kwartaal|jaar)\b",
)
_OTHERS = (
    (
        r"\bкажд\w+ (?:\w+ )?(?:день|утро|вечер|ночь|недел\w+|месяц|понедельник|вторник|сред[уы]|четверг|пятниц\w"
        r"|суббот\w|воскресенье)\b"
    ),
    (
        r"\bеже(?:дневно|недельно|месячно|квартально)\b|\bраз[а]? в (?:день|неделю|месяц|сутки|год)\b|\bв (?:полночь"
        r"|полдень)\b"
    ),
    (
        r"\bпо (?:понедельникам|вторникам|средам|четвергам|пятницам|субботам|воскресеньям|будням|утрам|вечерам"
        r"|выходным)\b"
    ),
    r"\bв (?:начале|конце) (?:каждо\w+ )?(?:дня|недели|месяца|квартала|года)\b",
    (
        r"\bcodziennie\b|\b(?:co|każd\w+) (?:dzień|noc|rano|wieczór|tydzień|miesiąc|kwartał|poniedziałek|piątek)\b"
        r"|\braz (?:na|w) (?:dzień|tydzień|miesiąc)"
    ),
    (
        r"\bher (?:gün|sabah|akşam|gece|hafta|ay|pazartesi|salı|çarşamba|perşembe|cuma)\b|\bhafta içi\b|\b(?:günde"
        r"|haftada|ayda) \w+ (?:kez|kere|defa)\b"
    ),
    r"毎[朝日週晩月夕年]|平日|月末|月初|曜日(?:に|の|ごと)|每[天日周晚月年早]|每个?(?:星期|工作日|月"
    r"|季度)|工作日|月底|午夜|(?<!구)매[일주월달년]|평일|월말|자정",
    r"(?<!\S)हर (?:दिन|रोज|सुबह|शाम|रात|हफ्ते|सप्ताह|महीने|सोमवार|शुक्रवार)|प्रतिदिन|रोज़ाना",
    r"(?<!\w)كل (?:يوم|صباح|مساء|ليلة|أسبوع|شهر)(?!\w)|(?:يومي|أسبوعي|شهري)ا|منتصف الليل",
)
SCHEDULE = "|".join((*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH, *_ITALIAN, *_PORTUGUESE, *_DUTCH, *_OTHERS))
# A word or a time that a body may say too ("the daily report", "by 9 am"): it decides when no event does.
WEAK_SCHEDULE = (
    r"\b(?:daily|weekly|nightly|monthly|quarterly|yearly|annual)\b|\b(?:täglich|wöchentlich|monatlich)e\w*\b"
    r"|\b(?:quotidien|hebdomadaire|mensuel)\w*\b|\b(?:semanal|mensual|mensal|diari[oa])(?:es)?\b|\b(?:dagelijkse"
    r"|wekelijkse|maandelijkse)\b"
    r"|\b(?:at|by|around) (?:\d{1,2}(?:[:.]\d\d)? ?(?:[ap]\.?m\b|o'clock)|(?:[01]?\d|2[0-3]):[0-5]\d\b|half past"
    r"|quarter (?:past|to))"
    r"|\bum \d{1,2}(?:[:.]\d\d)? ?uhr\b|\bà \d{1,2} ?h(?:eures)?\b|\b(?:a las|às|alle|om) \d{1,2}(?::\d\d|h| uur)\b"
    r"|\bin the (?:morning|evening)\b|\b\d{1,2} ?[ap]m (?:sharp|daily)\b"
)


def interval_of(text: str) -> str:
    """The interval that the text states, as the engine writes it (`5m`); an hour when it says "hourly"."""
    match = INTERVAL.search(text)
    said = match[0].lower() if match else ""
    if match and match["half"]:
        return "30m"
    if match and match["quarter"]:
        return "15m"
    unit = next((letter for letter, words in _UNITS.items() if re.search(rf"(?:{words})(?![a-zà-ÿ])", said)), "h")
    unit = "m" if "minütlich" in said else unit
    if match and match["times"]:
        return _share(_number(said), unit)
    return f"{_number(said)}{unit}"


def _share(times: int, unit: str) -> str:
    """ "Four times an hour" is every 15 minutes."""
    return f"1{unit}" if times == 1 else f"{60 // times}{'m' if unit == 'h' else 's'}"


def _number(said: str) -> int:
    digits = re.search(r"\d+", said)
    if digits:
        return int(digits[0])
    words = ((value, rf"(?<!\w)(?:{names})(?!\w)") for value, names in _NUMBERS.items())
    found = next((value for value, pattern in words if re.search(pattern, said)), 1)
    return 2 if "twice" in said else found
