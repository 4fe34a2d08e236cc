"""Which trigger the words state, and in which order words count. Read by `facts`.

The rules, first to last: a time that opens the prompt; a workflow that fails; a workflow that calls; a time
anywhere; a person by hand; a form; a chat; a call of our address; an event elsewhere; a word that only smells of time.
So a schedule beats an event in its body, a named form or chat beats the bare event that brings it, and "the daily
report" beats nothing.
"""

from __future__ import annotations

import re

from handlers.events import CALLED, FAILURE, WEAK_FAILURE, WEBHOOK
from handlers.people import CHAT, FORM, MANUAL
from handlers.times import INTERVAL, SCHEDULE, WEAK_SCHEDULE

# What a system reports: the nouns and the verbs of an event.
_NOUN = (
    r"(?:orders?|payments?|purchases?|push(?:es)?|commits?|releases?|issues?|tickets?|leads?|sign-?ups?"
    r"|checkouts?|pull requests?"
    r"|merge requests?|merges?|deploy(?:s|ments?)?|messages?|conversations?|events?|subscriptions?|subscribers?"
    r"|cancellations?|refunds?"
    r"|invoices?|bookings?|reservations?|alerts?|incidents?|calls?|requests?|registrations?|uploads?|comments?"
    r"|reviews?|donations?"
    r"|sales?|deliver(?:y|ies)|shipments?|chargebacks?|disputes?|customers?|users?|contacts?|accounts?|members?"
    r"|builds?|tags?|deals?"
    r"|complaints?|mentions?|repl(?:y|ies)|responses?|emails?|e-mails?|mails?|files?|photos?|pictures?|videos?"
    r"|documents?|records?|rows?"
    r"|cards?|tasks?|posts?|articles?|products?|pull-requests?|transactions?|charges?|failures?|errors?|logins?"
    r"|hires?|employees?)"
)
_VERB = (
    r"(?:arriv(?:es?|ed|ing)|com(?:es?|ing) (?:in|through|up)|came in|lands?|landed|(?:is|are|was|were|gets?|been"
    r"|being|becomes?|has) (?:\w+ ){0,2}?"
    r"(?:\w{2,}ed|made|sent|paid|bought|sold|won|lost|put|set|found|due|left|live|full|down|back|low|out of stock"
    r"|over)"
    r"|happens?|occurs?|fails?|failed|signs? (?:up|in)|signed (?:up|in)|logs? (?:in|on)|chang(?:es?|ed)"
    r"|register(?:s|ed)?|(?:un)?subscrib(?:es?|ed)|buys?|bought"
    r"|purchas(?:es?|ed)|pays?|paid|orders|ordered|cancels?|cancell?ed|books|booked|joins?|joined|pushes|pushed"
    r"|merges|merged|closes|closed|opens|opened"
    r"|creat(?:es|ed)|plac(?:es|ed)|add(?:s|ed)|upload(?:s|ed)?|updat(?:es|ed)|post(?:s|ed)|publish(?:es|ed)"
    r"|releas(?:es|ed)|deploys|deployed"
    r"|repl(?:ies|ied)|mention(?:s|ed)|comments|commented|leaves|left|sends|sent|reports|reported|rais(?:es|ed)"
    r"|drops|dropped|exceed(?:s|ed)?|appears?|shows? up|showed up"
    r"|checks? out|downgrad\w+|upgrad\w+|renew(?:s|ed)?|expir(?:es?|ed)|finish(?:es|ed)|complet(?:es|ed)|starts"
    r"|started|ends|ended|goes (?:down|live|offline|out|over|below|above|missing)"
    r"|turns|reach(?:es|ed)|falls|fell|rises|rose|ask(?:s|ed) for|requests|requested|complain(?:s|ed)|rat(?:es"
    r"|ed)|review(?:s|ed)|download(?:s|ed)|install(?:s|ed)|receiv(?:es?|ed)"
    r"|assigns|assigned|label(?:s|led|ed)|ships|shipped|delivers|delivered|refund(?:s|ed)|triggers?|fires|stars"
    r"|starred|wins|follows|donat(?:es|ed)|calls|hits|delet(?:es|ed)|mov(?:es|ed)"
    r"|approv(?:es|ed)|reject(?:s|ed)|enters|gets|sells|abandons|abandoned|applies|moved|tagged|forks|forked"
    r"|runs out)"
)
_NEW = r"(?:new(?:ly \w+)?|incoming|inbound|fresh)"
# When the sentence speaks of the writer's own acts, no other system tells us.
_SELF = r"(?! (?:i|you|we|it|done|that|this is done|finished|ready|possible|needed|necessary|\d)\b)"
# Something happens elsewhere: only a webhook lets another system tell us.
_EVENT = "|".join(
    (
        r"^\W*(?:an?|someone|somebody) (?:[\w'-]+ ){0,3}?(?:places|buys|pays|orders|cancels|signs up|books|registers"
        r"|creates|opens|subscribes|uploads)\b",
        r"\bquando [^.;]{0,40}?\bfor(?:em)? \w+d[oa]s?\b",
        (
            rf"\b(?:whenever|as soon as|(?:each|every|any) time|the (?:moment|minute|second|instant)"
            rf"|immediately (?:after|when)|upon){_SELF}\b"
        ),
        (
            rf"(?:^|[.!?:;]\s+)\W*(?:when|once|after|upon|following){_SELF} (?!(?:\w+ ){{0,2}}(?:minutes?|hours?|days?"
            rf"|weeks?|seconds?)\b)\w+"
        ),
        (
            rf"\b(?:when|once|after|if|should|in case)\b (?!(?:i|you|we"
            rf"|it)\b)[^.;:]{{0,60}}?\b{_VERB}\b"
        ),
        rf"^\W*(?:an? |every |each |all |the )?{_NEW} (?:[\w#'-]+ ){{0,4}}?{_NOUN}\b",
        (
            r"(?:^|[.!?]\s+)(?:an? |every |each |our |the )(?:[\w'-]+ ){1,4}?(?:just (?:\w+ed|came|got|bought|paid)"
            r"|arrives|comes in|is received|lands)\b"
        ),
        (
            rf"\b(?:on|upon|after|following|for|with|per|at) (?:every|each|any|an?|all|the)? ?(?:{_NEW}|successful"
            rf"|failed|completed|abandoned) (?:[\w'-]+ ){{0,3}}?{_NOUN}\b"
        ),
        (
            rf"\b(?:on|upon|after|following) (?:every|each|any|an?) (?:[\w'-]+ ){{0,3}}?(?!rows?\b|files?\b"
            rf"|records?\b){_NOUN}\b"
        ),
        (
            rf"\b(?:every|each|any|all) (?:single )?(?:{_NEW}|failed) (?:[\w'-]+ ){{0,3}}?{_NOUN}\b|\b(?:incoming"
            rf"|inbound) [\w-]+"
        ),
        (
            rf"\bnew (?-i:[A-Z])\w+ (?:\w+ )?(?-i:[a-z]+s)\b|\b{_NEW} {_NOUN} (?:arrives?|comes|in|from|on|of|is|are"
            rf"|go|goes|should|must|triggers?)\b"
        ),
        (
            rf"\b{_NOUN} (?:arrives?|comes? in|came in|coming in|is received|are received)\b|\b(?:push|pull|merge"
            rf"|payment|order) (?:events?|notifications?)\b"
        ),
        # Other languages: the word for "whenever" anywhere, the word for "when" in front.
        r"\b(?:immer wenn|jedes ?mal,? wenn|sobald|dès qu|(?:à )?chaque fois|aussitôt|cada vez que|en cuanto"
        r"|tan pronto|siempre que|ogni volta|non appena"
        r"|appena|sempre que|assim que|toda vez que|telkens|elke keer|zodra|iedere keer)",
        r"(?:^|[.!?:]\s+)(?:wenn|falls|quand|lorsqu|lors d|après|cuando|quando|tras|dopo|depois|após|wanneer"
        r"|als er|als een|когда|если|при|после|gdy|kiedy|po każd|jeśli)"
        r"(?! (?:ich|je|yo|io|eu|ik|я|die temperatur)\b)",
        r"\b(?:wenn|falls|quand|lorsqu\w*|cuando|quando|wanneer|als)\b[^.;]{0,60}?\b(?:ein(?:geht|trifft)|ankommt"
        r"|(?:rein)?kommt|(?:ange|be|er|hoch)\w*(?:legt|stellt|zahlt|laden)"
        r"|registriert|kündigt|storniert|geändert|kauft|meldet|arriv\w+|est (?:reçu|créé|pay|pass)\w*"
        r"|s['’](?:inscri|abonn)\w*|lleg\w+|se (?:cre|registr|recib)\w+|cheg\w+|entr[ae]\w*"
        r"|binnenkomt|geplaatst|aangemaakt|betaald)\b",
        r"\b(?:bei|nach|für|zu) (?:jede[rmns]?|eine[rm]|neue[rmn])(?: neue\w*)? \w+|\bbei (?:eingang|erhalt)\b"
        r"|\b(?:neue[rs]?) \w+ (?:ein|kommt|trifft|wird|soll)|\bgeht (?:\w+ ){0,5}?ein\b"
        r"|^\W*(?:nouve\w+|nuev\w+|nuov\w+|nov[oa]s?|nieuwe?|neue[rs]?) \w+",
        (
            r"\b(?:à|pour|après) chaque (?:nouve\w+ )?\w+|\b(?:à|dès) (?:la |l['’]|chaque )(?:réception|arrivée"
            r"|création)|\bse produit\b|\bvient d['’]"
        ),
        (
            r"\b(?:con|por|tras|para) cada nuev[oa]\b|\b(?:con|tras) cada \w+|\bal (?:recibir|llegar|crear|registrar"
            r"|entrar|producir)\w*|\bcada (?:nuev[oa]|pedido|pago|venta|registro)\b"
        ),
        (
            r"\b(?:ad?|per|dopo) ogni (?:nuov\w+ )?\w+|\b(?:alla|al|all['’]) ?(?:ricezione|ricevimento|arrivo"
            r"|creazione)|\bogni nuov\w+|\barriva un"
        ),
        (
            r"\b(?:a|para|após) cada nov[oa]\b|\bcada nov[oa]\b|\bao (?:receber|chegar|criar|registrar|cadastrar)\b"
            r"|\b(?:bij|na|voor) (?:elke?|iedere?|een) (?:nieuwe )?\w+|\bbij ontvangst\b"
        ),
        (
            r"\b(?:каждый раз|как только|при (?:получении|поступлении|создании|каждо\w+|нов\w+))|\b(?:za każdym razem"
            r"|gdy tylko|jak tylko|po otrzymaniu)\b|\bher yeni\b|(?:dığında|diğinde|duğunda|düğünde|tığında|tiğinde)\b"
        ),
        (
            r"(?:届い|入っ|来|作成され|追加され|登録され|支払われ|受け取っ|受信し|発生し|更新され|投稿され"
            r"|あっ)(?:たら|た(?:とき|時|際|場合|後))|(?:届く|入る|来る|される|受け取る"
            r"|受信する|発生する)(?:たび|と|とき|時)"
        ),
        r"(?:当|當)[^。]{1,30}?(?:时|時)|每当|每當|每次|一旦|(?:收到|新增|创建|出现"
        r"|产生)[^。，]{0,12}?(?:后|時|时|，)|有新",
        (
            r"(?:오면|들어오면|되면|받으면|생기면|올라오면|하면|때마다|될 때|들어올 때|올 때)|(?:^"
            r"|[.!?।]\s*)जब |(?:^|\s)जब भी |(?:होने|आने"
            r"|मिलने) पर|(?:^|[.!?]\s+)(?:عند|عندما|كلما)(?!\w)"
        ),
    )
)
# In this order: the first pattern that matches decides (contract §6, triggers).
TRIGGERS = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("interval", rf"^\W*(?:(?:once|please|bitte|run|check)\W+)?(?:{INTERVAL.pattern})"),
        ("schedule", rf"^\W*(?:{SCHEDULE})"),
        ("error_trigger", FAILURE),
        ("workflow_trigger", CALLED),
        ("interval", INTERVAL.pattern),
        ("schedule", SCHEDULE),
        ("manual_trigger", MANUAL),
        ("form", FORM),
        ("chat_trigger", CHAT),
        ("webhook", WEBHOOK),
        ("error_trigger", WEAK_FAILURE),
        ("webhook", _EVENT),
        ("schedule", WEAK_SCHEDULE),
    )
)
