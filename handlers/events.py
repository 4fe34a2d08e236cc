"""The words of what starts a workflow from elsewhere: a failure, a caller, a request. Read by `triggers`."""

from __future__ import annotations

# A workflow, by what people call it; and that it fails.
_FLOW = (
    r"(?:workflows?|automations?|automatisations?|automatizaci[oó]n\w*|automazion\w*|automaç\w+|flows?"
    r"|flujos?|fluxos?|flussi?o?|scenarios?|zaps?)"
)
_FAILS = (
    r"(?:(?:has |have |had |is |are |gets? )?(?:fail(?:s|ed|ing|ure)?|crash(?:es|ed|ing)?|error(?:s|ed)?"
    r"|errors out|br(?:eaks|oke|oken)"
    r"|stops? working|goes wrong|went wrong|dies|died|abort(?:s|ed))|(?:throws|raises|runs into|ends (?:in|with)"
    r"|hits|has|reports) (?:an? |any )?(?:errors?|exception|failure))"
)
FAILURE = "|".join(
    (
        rf"\b(?:goes|went|is) wrong (?:in|with) (?:an?|any|one|our|my|the)(?: \w+){{0,3}} {_FLOW}\b",
        (
            rf"\b(?:an?|any|another|other|the|our|my|some|one|every|each|which"
            rf"|of)(?: \w+){{0,3}}? {_FLOW} (?:\w+ ){{0,2}}?{_FAILS}\b"
        ),
        rf"\b{_FLOW} (?:failures?|errors?|crash(?:es)?)\b|\b(?:failed|failing|crashed|broken) {_FLOW}\b",
        (
            rf"\b(?:fail(?:ure|s|ing)?|errors?|crash(?:es)?|exceptions?) (?:of|in|from|inside) (?:an?|any|another"
            rf"|other|the|our|my|some|one)(?: \w+){{0,3}} {_FLOW}\b"
        ),
        (
            r"\bworkflow\w*(?: \w+){0,2} (?:fehlschl[aä]\w+|abst[üu]rz\w+|scheiter\w*|abbricht|crasht|schiefgeht"
            r"|einen fehler)"
        ),
        r"\bworkflow\w* (?:scheiter|schlägt|stürzt|bricht)\w*",
        (
            rf"\b{_FLOW}(?: \w+){{0,2}}? (?:échoue\w*|plante\w*|tombe\w* en (?:erreur|panne)|fall[ae]n?|falhar?e?m?"
            rf"|fallisc\w+|fallire|quebrar?|mislukt\w*|faalt|crasht)\b"
        ),
        (
            rf"\b(?:fall[ea]n?|falhar?e?m?|fallisc\w+|se cae|se rompe|erro|error|erreur|errore|fout"
            rf"|échec) (?:\w+ ){{0,3}}?{_FLOW}\b"
        ),
        (
            r"ワークフロー[^。]{0,8}(?:失敗|エラー)|(?:工作流|流程)[^。，]{0,6}(?:失败"
            r"|出错|失敗|报错)|워크플로[^.]{0,8}(?:실패|오류)"
            r"|воркфлоу\w* (?:\w+ )?(?:упа|слома|заверш)\w*"
        ),
    )
)
# Other things that run and fail: less sure, since the body of a schedule or an event may say it too.
WEAK_FAILURE = (
    r"\b(?:when|whenever|if|once|as soon as|after|on|each time|every time|any time|should)\b[^.,;]{0,30}?"
    rf"\b(?:(?<!git )(?<!github )jobs?|runs?|executions?|process(?:es)?|integrations?|bots?|tasks?"
    rf"|steps?)\b(?: of \w+| \w+){{0,2}}? {_FAILS}\b"
    r"|\b(?:on|upon|after|in case of|for) (?:an? |any |every |each )?(?:\w+ )?(?:failure|crash|exception"
    r"|execution error|runtime error)\b"
    r"|\b(?:wenn|sobald|falls)\b[^.,;]{0,30}?\b(?:job|lauf|prozess|automatisierung)\b[^.,;]{0,20}?(?:fehl|schief"
    r"|abst[üu]rz|scheiter)"
)
_CALLER = (
    rf"(?:(?:an|the|my|our|other|some|one|of|different|parent|main|calling|master) ?){{0,3}}(?:another|other"
    rf"|parent|main|calling|master|different|outer|bigger|larger){{0,1}} ?{_FLOW}"
)
CALLED = "|".join(
    (
        (
            rf"\b(?:called|started|triggered|invoked|executed|run|used|launched|kicked off|reused|fed) (?:by|from"
            rf"|inside|within) (?:\w+ ){{0,3}}?{_FLOW}\b"
        ),
        (
            r"\bsub[- ]?(?:workflows?|flows?|routines?|flujos?|fluxos?)\b|\bchild workflow\b|\bparent (?:workflow"
            r"|flow|automation)\b|\bcalling workflow\b"
        ),
        rf"\b(?:when|whenever|once|if|after|as soon as) (?:another|any other|the \w+|one of (?:our|my"
        rf"|the)(?: other)?|a different|an?) {_FLOW} (?:calls|starts|invokes|triggers|hands|finishes"
        r"|completes|is (?:done|finished|complete)|ends|runs|passes|asks|needs|executes|has (?:finished|run"
        r"|completed))",
        (
            rf"\b(?:other|another|our|my|several|different|main) (?:\w+ )?{_FLOW} (?:can |will |may |must "
            rf"|should )?(?:calls?|invokes?|reuses?|triggers?|starts?) (?:this|it|me)\b"
        ),
        rf"\bwhen another {_FLOW}\b|\breusable (?:workflow|flow|step|building block)\b",
        (
            r"\b(?:von|aus|durch) (?:einem|einen|dem|anderen|anderem|unserem)(?: \w+)? workflows?\b|\bunterworkflow"
            r"|\b(?:anderer|haupt-?)\s?workflow (?:\w+ )?(?:aufruft|startet|ruft)"
        ),
        (
            rf"\b(?:par|depuis) (?:un|une|le|notre) (?:autre )?{_FLOW}\b|\b(?:por|desde|da|dal|da un|por um|door een"
            rf"|vanuit een) (?:otro|outro|altro|un altro|un|um|ander|andere)? ?{_FLOW}\b"
        ),
        r"(?:別の|他の|親)ワークフロー(?:から|が|に)|(?:另一个|其他|父)(?:工作流|流程)|다른 워크플로|друг\w+ воркфлоу",
    )
)
# A service's incoming webhook is where a step writes to, not what starts the workflow.
_OURS = r"(?:our|my|this|the|a|an|us at|your)"
WEBHOOK = "|".join(
    (
        r"\b(?:notifies|informs|alerts|tells) (?:us|me)\b|\blets (?:us|me) know\b",
        r"(?<!slack )(?<!discord )(?<!teams )(?<![a-z0-9_-])webhooks?(?![a-z0-9_-])",
        (
            r"\b(?:http|api|post|get|rest) (?:calls?|requests?) (?:comes|come|arrives?|is received|is made|hits"
            r"|reaches|to (?:our|this|my)|from)\b"
        ),
        (
            r"\b(?:incoming|inbound|receives?|receiving|received|accepts?|on|gets called with|takes) (?:an? |any "
            r"|each |every )?(?:\w+ )?(?:http|post|api|data|requests?|payloads?|callbacks?|json)\b|\bpost request to\b"
        ),
        (
            rf"\b(?:posts|hits|calls|pings|sends|pushes|delivers|submits|POSTed|posted|sent|pushed|called"
            rf"|invokes) (?:[\w-]+ ){{0,5}}?(?:to )?{_OURS} (?:\w+ ){{0,2}}?(?:endpoint|hook|url|api|address)\b"
        ),
        (
            rf"\bwill (?:post|hit|call|ping|send|push"
            rf"|invoke) (?:[\w-]+ ){{0,5}}?(?:to )?{_OURS} (?:\w+ ){{0,2}}?(?:endpoint|hook|url|api)\b"
        ),
        (
            r"\b(?:posts|sends|pushes|delivers) (?:us |me )?(?:an? |the |its |their )?(?:[\w-]+ ){0,2}?(?:json"
            r"|payload|data|reading|readings|post|request|callback|notification|update)s?\b(?:[^.;]{0,20}\bto (?:us"
            r"|me|it|this)\b)?"
        ),
        (
            r"\b(?:expose|provide|offer|create|build|set up|need|have|make) (?:an? |the )?(?:\w+ ){0,2}?(?:endpoint"
            r"|callback url|post url|rest api|http api|api)\b(?: that| which| where| for| to receive| taking"
            r"| accepting)"
        ),
        (
            r"\b(?:our|this|an|the) (?:\w+ )?(?:endpoint|hook) (?:is|gets|receives) (?:called|hit|pinged|invoked)?"
            r"|\bcallback from\b|\bpush (?:event|notification)s? (?:from|of|in|on|arriv)"
        ),
        (
            r"\b(?:empfängt|erhält|nimmt) (?:\w+ ){0,3}?(?:anfrage|post|request|daten|json)\w*|\b(?:reçoi\w+|recib\w+"
            r"|receb\w+|ricev\w+|ontvang\w+) (?:\w+ ){0,2}?(?:requête|petici[oó]n|requisição|richiesta|verzoek|post"
            r"|json|datos|dados|dati)\w*"
        ),
    )
)
