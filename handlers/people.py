"""The words by which people start a workflow: a form, a chat, their own hand. Read by `triggers`."""

from __future__ import annotations

_PERSON = (
    r"(?:visitors?|customers?|clients?|users?|guests?|people|persons?|applicants?|candidates?|participants?"
    r"|attendees?|employees?"
    r"|students?|parents|members?|staff|respondents?|patients?|colleagues?|someone|somebody|anyone|anybody|they"
    r"|buyers?|shoppers?|tenants?|volunteers?)"
)
FORM = "|".join(
    (
        r"\b(?:uploads?|sends?|leaves?) [^.;,]{1,40} (?:on|through|via) (?:an?|our|the|my) (?:\w+ )?"
        r"(?:web ?)?(?:page|site)\b",
        r"\b(?:sign-?up|contact|registration|feedback|web|website|online|survey|application|order|lead|intake"
        r"|request|booking|google"
        r"|entry|typeform|jotform|enquiry|inquiry|quote|support|rsvp|onboarding|complaint|donation"
        r"|newsletter) forms?\b",
        (
            r"\b(?:an?|the|this|our|my|your|every|each|new|html"
            r"|custom) (?:[\w-]+ ){0,3}?(?<!short )(?<!long )(?<!json )form\b(?! of\b| letter)|^\W*form\W*$"
        ),
        (
            r"\bforms? (?:is |are |gets |trigger|submi|with|for|asking|asks|where|that|which|on our|on the|comes? in"
            r"|arrives|entry|entries|response|fields?|filled|sent)"
        ),
        r"\b(?:survey|questionnaire)\b|\b(?:typeform|jotform|tally\.so)\b",
        (
            r"\b(?:fills?|filled|filling) (?:it |that |this |them )?(?:in|out)\b(?! the (?:template"
            r"|blanks|missing|gaps|table|sheet|rows?|columns?))"
        ),
        (
            rf"\b{_PERSON} (?:can |must |should |may |will |has |have |just )?(?:fills?|submit(?:s|ted)?|enters?"
            rf"|completes?|answers the (?:poll|quiz))\b"
        ),
        (
            r"\b(?:new |each |every |any |the |a |upon |on |after )submissions?\b|\bsubmissions? (?:of|from|should"
            r"|goes|go|is|are|comes?)\b"
        ),
        (
            r"\bsubmits?\b (?:an?|the|our|their|his|her|your|it|this)\b|\b(?:application|request|feedback|entry"
            r"|details|response|idea|claim|enquiry|inquiry|review|registration|booking|order) (?:is|are|gets|has been"
            r"|was) submitted\b"
        ),
        (
            r"\b(?:leaves?|enters?|types? in|gives?|submits?|inputs?|provides?) (?:in )?(?:their|his|her|your|its"
            r"|his or her) (?:\w+ )?(?:names?|e-?mails?|phone|details|address|data|contact|number|info\w*)\b"
        ),
        (
            r"\b(?:sign-?up|registration|signup|landing|contact|application|rsvp|booking|feedback|checkout"
            r"|enrol?lment) page\b|\bpage (?:with|where|that asks|asking)[^.;]{0,30}\bfields?\b"
        ),
        (
            r"\b(?:signs?|signed|registers?|registered|applies|apply) (?:up )?(?:on|through|via|using|at|with) (?:our"
            r"|the|my|a|this) (?:\w+ ){0,2}?(?:web ?)?(?:site|page|form)\b"
        ),
        rf"\b(?:collect|gather|ask for|take in)\b[^.;,]{{0,50}}?\bfrom (?:our |the |all |new |my )?{_PERSON}\b",
        # Not the Spanish verbs "formular una pregunta" and "reformular".
        (
            r"(?<!re)formular(?:e|en|s|z)?\b(?! una?\b)|\bformul(?:ario|ário|aire|ier)s?\b"
            r"|\bformuli?er(?:en)?\b|\w{3,20}formular\b|\w{3,20}formulier\w*"
        ),
        (
            r"\bfragebogen\b|\bumfrage\w*|\banmeldeseite|\bsondage\b|\bencuesta|\bcuestionario|\bquestion(?:ário|ario"
            r"|naire)s?\b|\bpesquisa de satisfação|\bsondaggio\b|\bvragenlijst|\benquête\b"
        ),
        (
            r"\bmodul[oi] (?:di |d['’]|online|web|sul |è |viene |del sito|contatt\w+|compilat)|\b(?:compil"
            r"|invi)\w* (?:il|un|del|questo|nostro|nel) modulo\b|\binschrijfpagina"
        ),
        # Not "platform", "uniform": a form is sent, filled in or answered.
        r"(?<!プラット)フォーム(?:が|に|から|を|へ)[^。、]{0,8}?(?:送信|入力|回答"
        r"|記入|投稿|届|提出)|アンケート|问卷|問卷|설문",
        r"(?:提交|填写)[^，。]{0,6}表[单單]|表[单單][^，。]{0,4}(?:提交|填写)|(?:양식|폼)[^,.]{0,6}제출",
        (
            r"फ़?ॉर्म (?:भर|जमा|सबमिट)|\b(?:заполн|отправ)\w+ (?:\w+ )?(?:форм[аыу]|анкет\w)|\bанкет[аыу]\b"
            r"|\bformularz\w*|\bform(?:u|un)? (?:doldur|gönder)\w*|\banket\b"
        ),
        # Not "language model", which is the same word.
        r"(?:إرسال|تعبئة|ملء|تقديم|استلام) (?:ال)?نموذج|استمارة",
    )
)
_WRITES = (
    r"(?:asks?|writes?|chats?|types?|talks? to|messages (?:us|me|the)|says?|sends? (?:us )?a (?:chat )?message in)"
)
CHAT = "|".join(
    (
        (
            r"\bchat ?(?:bots?|messages?|triggers?|windows?|widgets?|box|bubble|room|assistant|interface|input"
            r"|conversations?)\b"
        ),
        (
            r"\b(?:in|from|via|on|over|through|inside|by) (?:the |a |our |my |this )?(?:live |web |website |site "
            r"|support )?chat\b|^\W*chat\W*$|\b(?:live|web)[- ]?chat\b|\bchats? with\b"
        ),
        (
            rf"\b(?:when(?:ever)?|if|once|as soon as|each time|every time) (?:an? |the "
            rf"|our )?(?:\w+ )?{_PERSON} {_WRITES}"
        ),
        (
            rf"\b{_PERSON} (?:of [\w ]{{1,20}} |on [\w ]{{1,20}} )?(?:can |may |will |should )?(?:ask|type|chat"
            rf"|talk to|write to|message)\b(?! (?:for|to) (?:a|the|their)? ?(?:refund|approval))"
        ),
        (
            rf"\bquestions? (?:that |which |from |of |by )(?:our |the |a )?(?:website )?{_PERSON}\b|\b(?:answers?"
            rf"|answering|replies to|reply to) (?:our |the |all )?{_PERSON}['’]? questions\b"
        ),
        (
            r"\bbots? (?:that|which|who|for|on our|on the|answers|replies|can|should|to answer|where)\b|\b(?:to|ask"
            r"|asks|asking|talk to|message|messages|question) (?:the|our|my|this) (?:\w+ )?(?:bot|assistant)\b"
        ),
        (
            r"\b(?:virtual|conversational|talking|website|support|faq|q&a) (?:assistant|agent|bot)\b"
            r"|\bassistant (?:that|which|who|on|for)\b"
        ),
        (
            r"\bchatbot|\b(?:im|en el|en un|dans le|par|nella|nel|in|no|in de|via de|via|pelo|per) chat\b"
            r"|\bdes Chats\b|\bin chat\b|\b(?:del|al|do|sur le) chat\b"
        ),
        r"チャット(?:で|から|ボット|に)|聊天(?:中|机器人|窗口|框)|채팅(?:에서|봇|으로)"
        r"|чат[ -]?бот|в чат[е]?\b|الدردشة|चैट",
    )
)
MANUAL = "|".join(
    (
        (
            r"\b(?:manually|manual(?: trigger| start| run)?|on[- ]demand|i (?:click|press|hit run|push|tap)"
            r"|(?<!submit )(?<!send )buttons?|by hand|ad[- ]hoc)\b"
        ),
        (
            r"\b(?:when|whenever|each time|every time|only (?:when|if)|once|as soon as|if) i (?:run|start|want|say"
            r"|need|ask|tell|feel|decide|trigger|launch|execute|choose|hit|am ready|like)\b"
        ),
        (
            r"\bi(?:'ll| will| want to| would like to| can| just| only)? (?:start|run|trigger|kick|launch|execute"
            r"|fire) (?:it|this|that|the (?:workflow|flow|automation|thing))\b"
        ),
        (
            r"\bi want to (?:kick|set) (?:\w+ )?off\b|\b(?:run|started|triggered|launched|start|trigger) (?:it "
            r"|this )?(?:by me|myself|by myself|at will|by a person)\b"
        ),
        (
            r"\b(?:with|at|on|in|by) (?:one|a|a single|the) (?:mouse )?(?:click|press|push|tap)\b|\bwhen i'?m ready\b"
            r"|\bone[- ](?:off|time|shot)\b"
        ),
        (
            r"\b(?:manuell|manualmente|manuellement|handmatig|auf (?:knopfdruck|abruf|wunsch|klick)|von hand"
            r"|per (?:hand|klick|mausklick)|händisch|ręcznie|manuale?)\b"
        ),
        (
            r"\b(?:wenn|sobald|immer wenn) ich (?:\w+ ){0,4}?(?:drück\w*|klick\w*|start\w*|will|möchte|ausführ\w*)"
            r"|\bknopf\b"
        ),
        (
            r"\bà la (?:demande|main)\b|\bd['’]un clic\b|\bbouton\b|\b(?:quand|lorsque) je (?:clique|lance|veux|le)"
            r"|\ben un clic\b"
        ),
        (
            r"\b(?:a mano|bajo demanda|sob demanda|a demanda|a richiesta|su richiesta|a pedido)\b|\bbot[oó]n\b"
            r"|\bbotão\b|\b(?:con|com|con) (?:un|um) (?:solo )?clic\w*|\bcuando (?:yo )?(?:lo )?(?:pulse|ejecute"
            r"|quiera|haga)\b"
        ),
        (
            r"\bpulsante\b|\bbottone\b|\bcon un clic\b|\bquando (?:lo )?(?:avvio|clicco|premo|voglio|eu)\b"
            r"|\bop (?:verzoek|aanvraag|afroep)\b|\bmet (?:één|een) (?:klik|druk)|\bknop\b|\b(?:wanneer|als) ik\b"
        ),
        (
            r"вручную|по запросу|по (?:нажатию|клику|кнопке)|нажима|手動で|手動"
            r"|ボタン|手动|点击按钮|按钮|수동|버튼|يدوي|زر|मैन्युअल|बटन"
            r"|\bdüğme"
        ),
    )
)
