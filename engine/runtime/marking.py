"""A question's words: what fills a slot is taken out, and a mark put in its stead.

What fills a slot is a class, a bound in metres, a part of the image or the area, or a place's ordinal. What
is left must be words of ``engine.runtime.lexicon``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from engine.runtime.lexicon import CUES, GENERAL, SLOTS
from engine.runtime.spelt import SCALES, UNIT, WORD_NUMBERS, in_digits

FOOT_M = 0.3048


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on lengths."""

    metres: float
    longer: bool
    strict: bool

    def holds(self, length_m: float) -> bool:
        """Whether a length lies within."""
        if length_m == self.metres:
            return not self.strict
        return (length_m > self.metres) == self.longer


@dataclass(frozen=True, slots=True)
class Marked:
    """A question with its slots taken out.

    Attributes:
        marks: words and marks, in order; slots are words in angle brackets.
        labels: classes that it names, "object" for any.
        bounds: on lengths.
        parts: parts of the image, of PARTS.
        places: ordinals.
        unknown: words that nobody knows, numbers that no slot took among them.
    """

    marks: tuple[str, ...]
    labels: tuple[str, ...]
    bounds: tuple[Bound, ...]
    parts: tuple[str, ...]
    places: tuple[int, ...]
    unknown: tuple[str, ...]


_NOUNS = {
    "platform": r"(?:(?:offshore )?(?:oil|gas|drilling|production|offshore)(?: and gas)? )?(?:platforms?"
                r"|rigs?|oilrigs?)",
    "turbine": r"(?:offshore )?(?:wind )?(?:turbines?|windturbines?|windmills?|wind mills?|wind generators?)",
    "ship": r"(?:ships?|vessels?|boats?|crafts?|watercraft|hulls?)",
    "object": r"(?:objects?|targets?|things?|items?|contacts?|echo(?:es)?|blips?|detections?)",
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
_OPPOSITE = ({"top", "bottom"}, {"left", "right"}, {"north", "south"}, {"east", "west"})

_IMAGE = (
    r"(?:(?:satellite |radar |sar )*(?:image|picture|chip|scene|frame|shot|view|snapshot|scan|imagery"
    r"|pass|acquisition))"
)
_SCOPE = rf"(?:{_IMAGE}|area|region|zone|place|polygon|box)"
_NUMBER = r"~(\d+(?:\.\d+)?)"
_ABOUT = r"(?:(?:about|around|roughly|approximately|some) )?"
_TAIL = r"(?: (?:long|in length|in size|of length|overall|loa))?"
_OF_LENGTH = (
    r"(?:(?:with |of |having |whose |that has |that have )?(?:an? |the |their )?(?:estimated |overall "
    r"|total )?"
    r"(?:length|size)s? (?:of |is |are |that is )?)?(?:of )?(?:measuring )?"
)

# Comparisons with a number of metres: pattern, whether longer, whether strict.
_COMPARE = (
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
_FIRST = r"(?:first|earlier|earliest|older|oldest|previous|former|prior|preceding)"
_SECOND = r"(?:second|later|latest|newer|newest|current|recent|most recent|present)"
# Phrases that mean one thing, whatever their words mean elsewhere; "" takes them out.
_PHRASES = (
    (r"(?:just )?(?:a )?simple question ", ""),
    (r"whether or not", "whether"),
    (r"if any", ""),
    (r"at least (?:one|an?)|one or more", "any"),
    (r"(?:came|come|coming) (?:in)?to (?:view|sight)", "came"),
    (r"(?:gone|went|go|going) (?:up|down)", "<more>"),
    (r"(?:do|does|are|is) not (?:fit|wholly|fully|entirely|completely)(?: inside)?", "<beyond>"),
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
    (r"(?:there )?now (?:but )?(?:not|and not) before|(?:were|was|is|are) ?not (?:there|here|present"
     r"|visible|seen) "
     r"(?:before|previously|earlier|last time)|(?:but )?(?:was |were )?not (?:there )?before", "<new>"),
    (r"(?:are|is|were|was)? ?(?:not|no longer) (?:there|here|present|visible|seen|around|to be seen)"
     r"(?: (?:any ?more|any longer|now))?|not (?:there |here )?any ?more|no longer", "<gone>"),
    (r"(?:can|could) ?not (?:be )?(?:told|decided|judged|determined|said|known|tell|settled|established)|"
     r"(?:can|could) (?:it|this|that) not be (?:told|decided|judged|said)|can not tell|"
     r"(?:are|is|stay|remain) not (?:clear|certain|sure|known|decided)|(?:stay|stays|remain|remains"
     r"|left) open|"
     r"(?:are|is) (?:you|we|it) not (?:sure|certain)(?: of)?|(?:can|could) (?:you|we) not (?:tell|say)|"
     r"(?:can|could) the changes? not be (?:told|said|judged)|(?:is|are) (?:it|this) (?=unclear"
     r"|uncertain|unknown|open)", "<unclear> "),
    (rf"before and after|{_FIRST} and (?:the )?{_SECOND} {_WHEN}|"
     rf"both (?:of )?(?:the )?(?:{_WHEN}|times|dates|days)|(?:the )?two {_WHEN}(?! ago)", "<both>"),
    (rf"(?:ever )?(?:since|compared (?:with|to)|versus|in comparison (?:with|to)) (?:the |our |your )?"
     rf"(?:last|{_FIRST}) (?:(?:radar |satellite )?{_WHEN}|time|look)", "<since>"),
    (r"since (?:then|before|last time)|in the mean ?(?:time|while)|mean ?while|in between|"
     r"between (?:<both>|them|the (?:passes|images)|passes|images)|from <both>", "<since>"),
    (rf"(?:in|on|at|of|by|from|during|with|than in) (?:the )?{_FIRST} {_WHEN}|"
     rf"(?:the )?{_FIRST} {_WHEN}", "<first>"),
    (rf"(?:in|on|at|of|by|from|during|with|than in) (?:the )?{_SECOND} {_WHEN}|(?:the )?{_SECOND} {_WHEN}|"
     r"in the last (?:image|picture|chip)|the last (?:image|picture|chip)", "<second>"),
    (r"than (?:in )?(?:the )?(?:first|last time|earlier|previously|previous|older|former)", "than before"),
    (r"(?:in|from) the (?:first|former)$", "<first>"),
    (r"last time|at first", "<first>"),
    (r"the (?:images|passes|pictures)", "<both>"),
    (r"only <second>|only there now", "<new>"),
    (r"only <first>", "<gone>"),
)  # fmt: skip
_HERE = re.compile(
    rf"\b(?:(?:in|on|at|of|within|inside|across|over|for|from) )?(?:the |this |that |our |my |your "
    rf")(?:whole |entire |full |given |current )?{_SCOPE}(?! ~)\b"
    r"|\b(?:around|over|out|down) (?:here|there)\b|\bin (?:view|sight)\b"
)
_PLACE_NOUN = (
    r"(?:places?|positions?|spots?|points?|locations?|sites?|numbers?|marks?|markers?|no|nr|entry|box"
    r"|label|id|"
    r"<(?:ship|object|platform|turbine)>)"
)
_PLACE = re.compile(
    rf"(?<!\S)(?:(?:at|in|on|of|from) )?(?:the )?(?:known |listed |marked |numbered |given )?{_PLACE_NOUN}"
    r"(?: (?:number|no|nr))?(?: (?:hash))? ~(\d{1,3})(?![\d.])(?! (?:m|km|ft|feet|foot|mtrs?|met\w+"
    r"|kilo\w+)\b)"
    r"|\bhash ~(\d{1,3})(?![\d.])"
)
_SIDE = "|".join(PARTS.values())
_PART_NOUN = r"(?:hand )?(?:part|third|area|section|region|zone|side|corner|end|hand|edge)"
_PART = re.compile(
    rf"\b(?:(?:in|at|on|to|towards?|within|from|of|into) )(?:the )?(?:far |very )?({_SIDE})(?: ?(?:and "
    rf")?({_SIDE}))?"
    rf"(?: {_PART_NOUN})?(?: (?:of|in) (?:the |this )?{_SCOPE})?(?= |$)(?! of\b)"
    rf"|\b(?:the )?({_SIDE})(?: ({_SIDE}))? {_PART_NOUN}(?: (?:of|in) (?:the |this )?{_SCOPE})?(?= "
    rf"|$)(?! of\b)"
)
_POLITE = re.compile(
    r"^(?:(?:please|hi|hello|hey|ok|okay|now|next|so|well|sir|roger|again|then|question|a question|one "
    r"question|thanks|"
    r"good (?:morning|evening|day|afternoon)|"
    r"(?:can|could|would|will) you(?: please| kindly)?(?: tell me| say| let me know| check| show me)?|"
    r"tell me(?! about)|kindly|do you know|let me know|i (?:want|wish|need|would like|d like) (?:you "
    r")?to (?:know|see|have)|"
    r"(?:please )?say|i want you to) )+"
)  # fmt: skip

_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?|[<>]=?|[^\s,'\"()`*_-]")
_CONTRACTED = {
    "what's": "what is", "where's": "where is", "how's": "how is", "there's": "there is", "it's": "it is",
    "that's": "that is", "which's": "which is", "who's": "who is", "i'd": "i would", "i'm": "i am",
    "can't": "can not", "cannot": "can not", "couldn't": "could not", "isn't": "is not", "aren't": "are not",
    "wasn't": "was not", "weren't": "were not", "hasn't": "has not", "haven't": "have not",
    "don't": "do not", "doesn't": "does not", "didn't": "did not", "anymore": "any more", "let's": "let us",
    "northwest": "north west", "northeast": "north east", "southwest": "south west",
    "southeast": "south east", "northwestern": "north west", "northeastern": "north east",
    "southwestern": "south west", "southeastern": "south east",
}  # fmt: skip


def mark(text: str) -> Marked:
    """Take the slots out of a question."""
    clauses = [each for each in re.split(r"[?!;:]+|\.(?=\s|$)", text.lower()) if each.strip(" ,.-")]
    said = [clause for each in clauses if (clause := _words(each))]
    line = " ".join(said)
    unknown = ["<several>"] if sum(_asks(each) for each in said) > 1 else []
    labels: list[str] = []
    bounds: list[Bound] = []
    parts: list[str] = []
    places: list[int] = []
    for label, pattern in _NOUNS.items():
        line, count = re.subn(rf"(?<![\w<]){pattern}(?![\w>])", f"<{label}>", line)
        labels += [label] * bool(count)
    line = _take_places(line, places)
    for pattern, longer, strict in _COMPARE:
        line = re.sub(
            rf"(?<!\S){_OF_LENGTH}{pattern}{_TAIL}(?!\S)",
            lambda found, longer=longer, strict=strict: _bound(found, longer, strict, bounds),  # type: ignore[misc]
            line,
        )
    line = _PART.sub(lambda found: _parts(found, parts), line)
    for pattern, meaning in _PHRASES:
        line = re.sub(rf"(?<!\S)(?:{pattern})(?!\w)", meaning, " ".join(line.split()))
    line = " ".join(_HERE.sub(" ", line).split())
    if "?classes" in line:
        labels = [label for label in labels if f"<{label}>" in line]
    line = re.sub(r"<(?:ship|platform|turbine|object)>", "<thing>", line)
    marks = tuple(line.split())
    unknown += [each for each in marks if each not in _known()]
    if any(set(parts) >= pair for pair in _OPPOSITE) or len(parts) > 2:
        unknown.append("<parts>")
    if re.search(r"\b(?:in|inside|on|into) (?:(?:the|this|that|an?) )?(?:\w+ )?<thing>", line):
        unknown.append("<inside>")  # what is in a ship is no question of places
    return Marked(marks, tuple(labels), tuple(bounds), tuple(parts), tuple(places), tuple(unknown))


def _words(clause: str) -> str:
    """Return a clause's words: numbers marked, typing errors mended, politeness gone."""
    clause = clause.replace("’", "'").replace("#", " hash ").replace("≥", ">=").replace("≤", "<=")
    tokens: list[str] = []
    for token in _TOKEN.findall(clause):
        if token[0].isdigit():
            tokens.append(f"~{token.replace(',', '')}")
        else:
            spelt = _CONTRACTED.get(token, token)
            tokens += [_mended(each) for each in spelt.replace("'", " ").split()]
    line = " ".join(in_digits(tokens))
    while (bare := _POLITE.sub("", f"{line} ").strip()) != line:
        line = bare
    return re.sub(r" ?\b(?:please|thanks|thank you)$", "", line)


def _asks(clause: str) -> bool:
    return clause not in (
        "hi",
        "hello",
        "hey",
        "please",
        "ok",
        "okay",
        "thanks",
        "question",
        "a question",
        "sir",
        "tell me",
    )


def _take_places(line: str, places: list[int]) -> str:
    def taken(found: re.Match[str]) -> str:
        places.append(int(found[1] or found[2]))
        return "<place>"

    return _PLACE.sub(taken, line)


def _bound(found: re.Match[str], longer: bool, strict: bool, bounds: list[Bound]) -> str:
    value, unit = float(found[1]), found[2]
    scale = 1000 if unit.startswith("k") else FOOT_M if unit.startswith("f") else 1
    bounds.append(Bound(value * scale, longer, strict))
    return "<bound>"


def _parts(found: re.Match[str], parts: list[str]) -> str:
    parts += [
        name
        for each in found.groups()
        if each
        for name, pattern in PARTS.items()
        if re.fullmatch(pattern, each)
    ]
    return "<part>"


@cache
def _known() -> frozenset[str]:
    marks = {"<thing>", *SLOTS, "?classes"}
    return frozenset(GENERAL.split()) | frozenset(CUES) | marks


@cache
def _spelling() -> frozenset[str]:
    """Words that a mistyped word may stand for."""
    nouns = (
        "ship ships vessel vessels boat boats craft platform platforms rigs turbine turbines windmill "
        "windmills "
        "object objects target targets thing things items contacts contact offshore drilling wind third "
        "section "
        "region area upper lower bottom north south east west northern southern eastern western corner "
        "longer "
        "shorter above under below bigger larger greater exceeding longest images image passes picture "
        "earlier "
        "later first second previous newer older meantime between passes position number metres "
        "kilometres uppermost topmost "
        "lowermost leftmost rightmost overflight acquisition most"
    )
    return frozenset(word for word in (*_known(), *nouns.split()) if word.isalpha() and len(word) > 3)


@cache
def _mended(word: str) -> str:
    """Mend a letter that was swapped, dropped or doubled inside a word, where one word alone fits."""
    if len(word) < 4 or word in _spelling() or word in _known() or not word.isalpha():
        return word
    if word in _in_patterns():
        return word
    near = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 1)}
    near |= {word[:i] + word[i + 1 :] for i in range(1, len(word)) if word[i] == word[i - 1]}
    near |= {
        word[:i] + letter + word[i:] for i in range(1, len(word)) for letter in "abcdefghijklmnopqrstuvwxyz"
    }
    found = near & _spelling()
    return found.pop() if len(found) == 1 else word


# English words that a slip would make a known word of.
_OTHERS = (
    "liner liners coast shore moored berth thin ward lane form cold cont exit exits exiting latter lots mere "
    "party preset sand tuned lager loner paces fund sips sots boas bats thins pint lest thee shoot costal"
)


@cache
def _in_patterns() -> frozenset[str]:
    """Words that patterns know, and words that no other is to be made of."""
    patterns = [*_NOUNS.values(), *PARTS.values(), *(each[0] for each in (*_COMPARE, *_PHRASES))]
    patterns += [_HERE.pattern, _PLACE.pattern, _PART.pattern, _POLITE.pattern]
    words = [*WORD_NUMBERS, *SCALES, *_OTHERS.split()]
    return frozenset(re.findall(r"[a-z]{4,}", " ".join(patterns))) | frozenset(words)
