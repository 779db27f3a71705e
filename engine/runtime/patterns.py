"""Patterns of what fills a question's slots, and of phrases that mean one thing.

They are tried in order, on lower-case words with numbers marked by a tilde (``engine.runtime.marking``).
"""

from __future__ import annotations

import re

from engine.runtime.spelt import UNIT

NOUNS = {
    "platform": r"(?:(?:offshore )?(?:oil|gas|drilling|production|offshore)(?: and gas)? )?(?:platforms?"
                r"|rigs?|oilrigs?|installations?)|(?:oil|gas|drilling|production|offshore) structures?",
    "turbine": r"(?:offshore )?(?:wind (?:power |energy |farm )?)?(?:turbines?|windturbines?|windmills?"
    r"|wind mills?|wind generators?)",
    "ship": r"(?:ships?|vessels?|boats?|crafts?|watercraft|seacraft|hulls?)",
    "object": r"(?:objects?|targets?|things?|items?|contacts?|echo(?:es)?|blips?|detections?"
              r"|(?:bright )?dots?|returns|radar (?:returns?|contacts?)|entry|entries|markers?)",
}  # fmt: skip
PARTS = {
    "top": r"top(?:most)?|upper(?:most)?",
    "bottom": r"bottom(?:most)?|lower(?:most)?",
    "left": r"left(?:most)?",
    "right": r"right(?:most)?",
    "north": r"north(?:ern)?",
    "south": r"south(?:ern)?",
    "east": r"east(?:ern)?",
    "west": r"west(?:ern)?",
}
OPPOSITE = ({"top", "bottom"}, {"left", "right"}, {"north", "south"}, {"east", "west"})

_IMAGE = (
    r"(?:(?:satellite |radar |sar )*(?:image|picture|chip|scene|frame|shot|view|snapshot|scan|imagery"
    r"|pass|acquisition))"
)
_SCOPE = rf"(?:{_IMAGE}|area|region|zone|place|polygon|box)"
_NUMBER = r"~(\d+(?:\.\d+)?)"
_ABOUT = r"(?:(?:about|around|roughly|approximately|some) )?"
TAIL = r"(?: (?:long|in length|in size|of length|overall|loa))?"
OF_LENGTH = (
    r"(?:(?:with |of |having |whose |that has |that have )?(?:an? |the |their )?(?:estimated |overall "
    r"|total )?"
    r"(?:length|size)s? (?:of |is |are |that is )?)?(?:of )?(?:measuring )?"
)

# Comparisons with a number of metres: pattern, whether longer, whether strict.
COMPARE = (
    (rf"(?:no|not) (?:shorter|smaller|less) than {_ABOUT}{_NUMBER} {UNIT}", True, False),
    (rf"not (?:under|below) {_ABOUT}{_NUMBER} {UNIT}", True, False),
    (rf"(?:no|not) (?:longer|larger|bigger|greater|more) than {_ABOUT}{_NUMBER} {UNIT}", False, False),
    (rf"not (?:over|above|exceeding) {_ABOUT}{_NUMBER} {UNIT}", False, False),
    (rf"(?:at least|a minimum of|minimum of|minimum|min|upwards of|>=|from) {_ABOUT}{_NUMBER} {UNIT}"
     r"(?: (?:up|upwards?|on|onwards?))?", True, False),
    (rf"(?:at most|a maximum of|maximum of|maximum|max|up to|<=) {_ABOUT}{_NUMBER} {UNIT}", False, False),
    (rf"{_ABOUT}{_NUMBER} {UNIT}(?: (?:long|in length))? (?:or|and) (?:longer|more|over|above|larger"
     rf"|bigger|greater|up|upwards?)",
     True, False),
    (rf"{_ABOUT}{_NUMBER} {UNIT} (?:plus|\+|upwards?)", True, False),
    (rf"{_ABOUT}{_NUMBER} {UNIT}(?: (?:long|in length))? (?:or|and) (?:shorter|less|under|below"
     rf"|smaller)", False, False),
    (rf"(?:longer|larger|bigger|greater|more) than {_ABOUT}{_NUMBER} {UNIT}", True, True),
    (rf"(?:over|above|exceed(?:s|ing)?|in excess of|>) {_ABOUT}{_NUMBER} {UNIT}", True, True),
    (rf"(?:shorter|smaller|less|fewer) than {_ABOUT}{_NUMBER} {UNIT}", False, True),
    (rf"(?:under|below|<) {_ABOUT}{_NUMBER} {UNIT}", False, True),
    (rf"longer than {_ABOUT}{_NUMBER}()", True, True),
    (rf"shorter than {_ABOUT}{_NUMBER}()", False, True),
)  # fmt: skip

_WHEN = (
    r"(?:(?:image|picture|scene|chip|frame|shot|acquisition|one|overflight|scan|visit)s?"
    r"|(?:over)?pass(?:es)?)"
)
_PRE = r"(?:radar |satellite |sar )?"
_FIRST = r"(?:first|earlier|earliest|older|oldest|previous|former|prior|preceding)"
_SECOND = r"(?:second|later|latest|newer|newest|current|recent|most recent|present)"
# Phrases that mean one thing, whatever their words mean elsewhere; "" takes them out.
PHRASES = (
    (r"(?:just )?(?:a )?simple question ", ""),
    (r"whether or not", "whether"),
    (r"if any", ""),
    (r"if(?= there (?:is|are)| you (?:can )?(?:see|find)| any| a <)", "whether"),
    (r"up or down|increased? or decreased?|(?:grown?|risen?|rise) or (?:shrunk|shrink|fallen|fall)"
     r"|more <ship> now or fewer", "<more>"),
    (r"(increase|decrease|trend|difference|rise|drop|growth) in", r"\1 of"),
    (r"at least (?:one|an?)|one or more", "any"),
    (r"or (?:what|not)$|so kind as to|all told|all in all|in terms of|on there$|in there$|for (?:me|us)"
     r"|be grateful if you could|appreciate it if you|the number of times", ""),
    (r"what (?:on earth|the heck|exactly)", "what"),
    (r"how much (?=<)", "how many "),
    (r"how much long", "how long"),
    (r"(?:kind|sort) of(?= length| size| long| big| stick)", ""),
    (r"happen to(?= see| find| notice| have| spot)", ""),
    (r"(?:put|place|draw) (?:a |an )?(?:marks?|<object>|box|boxes|circles?|pins?|flags?|labels?)"
     r" (?:on|around|over|at|round)", "mark"),
    (r"^flag(?: up)?(?! of| <place>| state|$)", "mark"),
    (r"(?:over|up|down|out|away|off) (?=<part>)", ""),
    (r"^(?:what|how) about", ""),
    (r"(?:this|that) one|(?<=is )that there$", "this"),
    (r"(?<=> )how (?:long|big|large) is it$", "length"),
    (r"<ship> traffic", "traffic"),
    (r"call out", "mark"),
    (r"(?:came|come|coming) (?:in)?to (?:view|sight)", "came"),
    (r"(?:gone|went|go|going) (?:up|down)", "<more>"),
    (r"(?:do|does|are|is) not (?:fit|wholly|fully|entirely|completely|quite|complete|whole|all(?= in))"
     r"(?: (?:fit|inside|contained|visible|shown))?|(?:are|is) not shown in full", "<beyond>"),
    (r"(?:go|goes|going|come|comes|coming|run|runs|running|stick|sticks|sticking|poke|poking|exit) "
     r"(?:out of|off|over|past) (?:the )?(?:image|picture|chip|frame|scene|view|radar image)", "<beyond>"),
    (r"(?:only )?see (?:only )?(?:part|half) of|cut in half|half (?:out|visible|shown|cut)"
     r"|in half", "<beyond>"),
    (r"yes or no", ""),
    (r"(?:right|just) now|at the moment|at present|at this (?:time|moment|point)|presently|currently", "now"),
    (r"at all", ""),
    (r"how (?:much|many) (?:long|m long|met(?:re|er)s long|met(?:re|er)s) ", "how long "),
    (r"(?:an? )?<(?:ship|platform|turbine)>(?: or)?(?: an?)? <(?:ship|platform|turbine)>(?:(?: or)?(?: "
     r"an?)? <(?:ship|platform|turbine)>)?(?= at| in| on| <place>|$)",
     "?classes"),
    (r"(?:leave|depart|disappear|vanish|go) or (?:appear|arrive|come)|(?:appear|arrive|come) or (?:leave"
     r"|depart|disappear|vanish|go)",
     "<happened>"),
    (r"(?:left|gone|departed|disappeared) or (?:appeared|arrived|come)|(?:appeared|arrived|come) or "
     r"(?:left|gone|departed|disappeared)",
     "<happened>"),
    (r"(?:more|fewer|less)(?: <\w+>)? or (?:fewer|more|less)(?: <ship>)?", "<more>"),
    (rf"(?:in |on )?(?:the )?{_SECOND} (?:{_PRE}{_WHEN} )?(?:but|and) not (?:in |on )?(?:the )?{_FIRST}"
     rf"(?: {_PRE}{_WHEN})?|(?:absent|missing|not (?:visible|present|there|seen)) (?:in|on|from) (?:the )?"
     rf"{_FIRST} {_PRE}{_WHEN}|(?:were|was|are|is )?absent before|before (?:were|was) not there", "<new>"),
    (rf"(?:in |on )?(?:the )?{_FIRST} (?:{_PRE}{_WHEN} )?(?:but|and) not (?:in |on )?(?:the )?{_SECOND}"
     rf"(?: {_PRE}{_WHEN})?|(?:absent|missing|not (?:visible|present|there|seen)) (?:in|on|from) (?:the )?"
     rf"{_SECOND} {_PRE}{_WHEN}|before (?:but|and) (?:(?:is|are) )?not (?:there |here )?(?:now|any ?more)|"
     r"can (?:i|we|you) not see any ?more|can not be seen any ?more|not more (?:there|here|visible)|"
     r"now (?:are|is) not (?:there|here)|(?:to be )?nowhere to be seen(?: any ?more)?", "<gone>"),
    (r"(?:have|has|had|did|do|are) not (?:moved?|budged?|moving|changed? (?:place|position))|stayed? put|"
     r"continues? to be|(?:stay(?:ed|s)?|remain(?:ed|s)?|are|still)(?: in place)? where they were", "still"),
    (r"(?:there )?now (?:but )?(?:not|and not) before|(?:were|was|is|are) ?not (?:there|here|present"
     r"|visible|seen) "
     r"(?:before|previously|earlier|last time)|(?:but )?(?:was |were )?not (?:there )?before", "<new>"),
    (r"(?:are|is|were|was)? ?(?:not|no longer) (?:there|here|present|visible|seen|around|to be seen)"
     r"(?: (?:any ?more|any longer|now))?|not (?:there |here )?any ?more|no longer", "<gone>"),
    (r"(?:do|does|did) (?:you|we) not know(?: about)?|(?:can|could) (?:you|we) not (?:decide|make out"
     r"|determine"
     r"|confirm)|(?:can|could) the \w+ not be (?:determined|decided|told)|(?:hard|impossible|difficult|not "
     r"possible) to (?:tell|say|judge|decide)|not (?:so |quite |entirely |very |really )?(?:sure|clear"
     r"|certain"
     r"|known)(?: of| about)?|unsure (?:of|about)|room for doubt|a maybe|(?:are|is) (?:you|we) guessing|"
     r"(?:can|could) ?not (?:be )?(?:confirmed|told|decided|judged|determined|said|known|tell|settled"
     r"|established)|"
     r"(?:can|could) (?:it|this|that) not be (?:told|decided|judged|said)|can not tell|"
     r"(?:are|is|stay|remain) not (?:clear|certain|sure|known|decided)|(?:stay|stays|remain|remains"
     r"|left) open|"
     r"(?:are|is) (?:you|we|it) not (?:sure|certain)(?: of| about)?|(?:can|could) (?:you|we) not (?:tell"
     r"|say)|"
     r"(?:can|could) the changes? not be (?:told|said|judged)|(?:is|are) (?:it|this) (?=unclear"
     r"|uncertain|unknown|open)", "<unclear> "),
    (rf"before and after|{_FIRST} and (?:the )?{_SECOND} {_WHEN}|(?:the )?both(?: of the)?(?: two)? {_WHEN}|"
     rf"both (?:of )?(?:the )?(?:{_WHEN}|times|dates|days)|(?:the )?two {_WHEN}(?! ago)", "<both>"),
    (rf"(?:ever )?(?:since|compared (?:with|to)|versus|vs|against|relative to|from|in comparison (?:with"
     rf"|to)) (?:the |our |your )?"
     rf"(?:last|{_FIRST}) (?:(?:radar |satellite )?{_WHEN}|time|look)", "<since>"),
    (r"since (?:we|you|i) last (?:looked|passed|checked|saw it)|from one (?:image|pass|picture) to (?:the )?"
     r"(?:next|other)|(?:compared (?:to|with)|versus|vs|against|from) (?:before|earlier|last time)|"
     r"since (?:then|before|last time)|in the mean ?(?:time|while)|mean ?while|in between|"
     r"between (?:(?:the )?<both>|them|the (?:passes|images)|passes|images)|from <both>", "<since>"),
    (rf"(?:in|on|at|of|by|from|during|with|than in) (?:the )?{_FIRST} {_PRE}{_WHEN}|"
     rf"(?:the )?{_FIRST} {_PRE}{_WHEN}|(?:(?:in|on) )?(?:the )?(?:old|before|initial|original) {_PRE}"
     r"(?:image|picture|scene|pass|chip|shot|frame)|the first time|to (?:start|begin) with|at the "
     r"(?:start|beginning)|before ?hand|back then|earlier on|the time before|in (?:image"
     r"|picture) one", "<first>"),
    (rf"(?:in|on|at|of|by|from|during|with|than in) (?:the )?{_SECOND} {_PRE}{_WHEN}"
     rf"|(?:the )?{_SECOND} {_PRE}{_WHEN}|"
     rf"(?:(?:in|on) )?(?:the )?(?:new|after|following|subsequent|final) {_PRE}(?:image|picture|scene"
     rf"|pass|chip"
     rf"|shot|frame)|the second time|in (?:image|picture) two|"
     r"in the last (?:image|picture|chip)|the last (?:image|picture|chip)", "<second>"),
    (r"than (?:in )?(?:the )?(?:first|last time|earlier|previously|previous|older|former)", "than before"),
    (r"(?:in|from|on) the (?:first|former|earlier|older|previous)$", "<first>"),
    (r"(?:in|from|on) the (?:second|latter|later|newer|latest)$", "<second>"),
    (r"last time|at first", "<first>"),
    (r"the (?:images|passes|pictures)", "<both>"),
    (r"only (?:(?:be|present|visible|seen|there|detected|see) )*<second>|<second> only"
     r"|only there now", "<new>"),
    (r"only (?:(?:be|present|visible|seen|there|detected|see) )*<first>|<first> only", "<gone>"),
)  # fmt: skip
HERE = re.compile(
    rf"\b(?:(?:in|on|at|of|within|inside|across|over|for|from) )?(?:the |this |that |our |my |your "
    rf")(?:whole |entire |full |given |current )?{_SCOPE}(?! ~)\b"
    r"|\b(?:around|over|out|down) (?:here|there)\b|\bin (?:view|sight)\b"
)
_PLACE_NOUN = (
    r"(?:places?|positions?|spots?|points?|locations?|sites?|numbers?|marks?|markers?|no|nr|entry|box"
    r"|label|id|"
    r"<(?:ship|object|platform|turbine)>)"
)
PLACE = re.compile(
    rf"(?<!\S)(?:(?:at|in|on|of|from) )?(?:the )?(?:known |listed |marked |numbered |given )?{_PLACE_NOUN}"
    r"(?: (?:number|no|nr))?(?: (?:hash))? ~(\d{1,3})(?![\d.])(?! (?:of|m|km|ft|feet|foot|mtrs?|met\w+"
    r"|kilo\w+)\b)"
    r"|\bhash ~(\d{1,3})(?![\d.])"
)
_SIDE = "|".join(PARTS.values())
_PART_NOUN = r"(?:hand )?(?:part|bit|portion|third|area|section|region|zone|side|corner|end|hand|edge)"
PART = re.compile(
    rf"\b(?:(?:in|at|on|to|towards?|within|from|of|into) )(?:the )?(?:far |very )?({_SIDE})(?: ?(?:and "
    rf")?({_SIDE}))?"
    rf"(?: {_PART_NOUN})?(?: (?:of|in) (?:the |this )?{_SCOPE})?(?= |$)(?! of\b)"
    rf"|\b(?:the )?({_SIDE})(?: ({_SIDE}))? {_PART_NOUN}(?: (?:of|in) (?:the |this )?{_SCOPE})?(?= "
    rf"|$)(?! of\b)|(?<=> )(north|south|east|west|top|bottom)$"
)
POLITE = re.compile(
    r"^(?:(?:please|hi|hello|hey|ok|okay|now|next|so|well|um+|uh+|erm?|hmm|and|right|alright|all right"
    r"|just|perhaps"
    r"|(?:might|may|can|could) i (?:just |please )?(?:ask|know|enquire|inquire)(?: you)?"
    r"|i (?:was |am |m )?(?:just )?(?:wonder|wondering|curious)(?: if you (?:could|can)(?: tell me)?)?"
    r"|i (?:should|would|d|ll) (?:just )?(?:like|love|want)(?: you)? to (?:know|see|ask|have|find|find out)"
    r"|(?:would|do) you mind(?: telling me)?|(?:would|could) you be (?:so kind as|able"
    r"|kind enough) to(?: tell me)?"
    r"|i (?:just )?(?:need|want)(?: you)?(?: to (?:know|see|find|find out|have))?|(?:can|could"
    r"|may) i (?:please )?"
    r"(?:see|have|get|trouble you to)|i (?:should|would) (?:be grateful|appreciate it) if you (?:could"
    r"|would)?"
    r"|(?:can|could) you help me(?: to)?|help me(?: to)?|request|just tell me|i am (?:looking|searching) for"
    r"|let (?:us|me) (?:see|hear|have)(?: a look (?:at|for))?|perhaps you could(?: tell me)?"
    r"|do you happen to know|"
    r"sir|roger|again|then|question|a question|one "
    r"question|thanks|"
    r"good (?:morning|evening|day|afternoon)|"
    r"(?:can|could|would|will) you(?: please| kindly)?(?: tell me| say| let me know| check| show me)?|"
    r"tell me(?! about)|kindly|do you know|let me know|i (?:want|wish|need|would like|d like) (?:you "
    r")?to (?:know|see|have)|"
    r"(?:please )?say|i want you to) )+"
)  # fmt: skip

LAST = re.compile(  # words at the end that say nothing
    r" (?:around|about|over|or what|or not|roughly|exactly|altogether|though|anywhere)$|(?<=>) only$"
    r"|(?<=>) in (?:it|this)$|(?<!there)(?<!were)(?<!back)(?<!since) then$|(?<=many <ship>) (?:is"
    r"|was) (?:it|that)$"
)
TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?|[<>]=?|[^\s,'\"()`*_-]")
CONTRACTED = {
    "what's": "what is", "where's": "where is", "how's": "how is", "there's": "there is", "it's": "it is",
    "that's": "that is", "which's": "which is", "who's": "who is", "i'd": "i would", "i'm": "i am",
    "can't": "can not", "cannot": "can not", "couldn't": "could not", "isn't": "is not", "aren't": "are not",
    "wasn't": "was not", "weren't": "were not", "hasn't": "has not", "haven't": "have not",
    "don't": "do not", "doesn't": "does not", "didn't": "did not", "anymore": "any more", "let's": "let us",
    "northwest": "north west", "northeast": "north east", "southwest": "south west",
    "southeast": "south east", "northwestern": "north west", "northeastern": "north east",
    "southwestern": "south west", "southeastern": "south east",
}  # fmt: skip
