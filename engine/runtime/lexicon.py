"""The words that a question about a radar image may hold, and the slots that they fill.

A question becomes a list of marks: what fills a slot (a class, a bound in metres, a part of the image, a
place's ordinal) is taken out and a mark put in its stead. Whatever is left must be a word that is known, and
known to go with what is asked (``CUES``): a word that nobody knows may be a condition, so a question that
holds one is not understood. Negations, "and", "or" and "except" are no known words; where they have a
meaning of their own ("no longer than", "one or more") a pattern takes them first.
"""

from __future__ import annotations

CHIP_INTENTS = (
    "which", "count", "exists", "beyond", "third", "longer", "shorter", "longest", "shortest", "length",
    "what",
)  # fmt: skip
PAIR_INTENTS = (
    "appeared", "gone", "still_occupied", "cannot_tell", "happened", "more", "count_first", "count_second",
    "changed",
)  # fmt: skip
FILTERS = ("which", "count", "exists", "third", "longer", "shorter", "longest", "shortest")
LISTED = ("appeared", "gone", "still_occupied", "cannot_tell")  # changes that places are listed by
GEOGRAPHY = ("north", "south", "east", "west")

# Words that say nothing of what is asked.
GENERAL = """
a about actually afloat again all also altogether am among an answer any anything anywhere are as at
available be been being by can check chip cite contain contained containing contains could currently d
detect detectable detected did display displayed do does during each entire enumerate estimate estimated
every everything exact exactly exist existing exists explain find for found frame from full get give given
got had has have having held hello here hey hi highlight hold holds how i identifiable identify if image
imagery images in include included includes including indicate into is it its just kindly know known let
lie lies like list listed ll locate located location locations look lying made make many mark marked may
maybe me might my name need note notice now number numbered observable observe observed of ok okay on one
ones onto our out overall pass per perhaps pick picked picture pinpoint place places please point position
positions possibly present provide question quick quickly radar re recorded registered report reported
return returns s said sar satellite say says scene see seen select short show showing shown shows sir sit
sits sitting situated so some something somewhere spot spots spotted stand standing stands state such sure
tell than thank thanks that the their them there these they thing think this those to total up us ve
visible want was we were what where whether which while whole with would you your
"""
# Words that go with some intents only, and the marks that stand for phrases.
_CUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "longest biggest largest lengthiest greatest maximum max",
        ("longest",),
    ),
    (
        "shortest smallest tiniest littlest least minimum min",
        ("shortest",),
    ),
    (
        "long length lengths size sized big large measure measures measured measurement m metre metres "
        "meter meters dimension dimensions extent",
        ("length", "longest", "shortest",),
    ),
    (
        "measure measures measured",
        ("longer", "shorter",),
    ),
    (
        "how-long",
        ("length", "longest", "shortest",),
    ),
    (
        "beyond outside partly partially partial wholly entirely fully fit extend extends extending "
        "reach reaches reaching stick sticks sticking run runs running cut clipped cropped truncated "
        "cross crosses crossing edge edges border borders margin boundary off over past chopped sliced "
        "go goes leave touch touches touching continue continues outer limit limits incomplete complete "
        "completely rim part",
        ("beyond",),
    ),
    (
        "new newly newcomer newcomers arrival arrivals appeared arrived came come turned showed joined "
        "entered fresh freshly popped added <new>",
        ("appeared", "happened", "changed",),
    ),
    (
        "appear appears",
        ("appeared", "happened", "changed", *FILTERS,),
    ),
    (
        "into",
        ("appeared",),
    ),
    (
        "left gone disappeared disappear departed depart departures missing vanished vanish went away "
        "leave leaving go lost <gone>",
        ("gone", "happened", "changed",),
    ),
    (
        "still remain remains remained remaining stayed stay stays unchanged occupied taken stationary "
        "persist persists persisted continuously both-times",
        ("still_occupied", "happened", "cannot_tell",),
    ),
    (
        "occupied",
        ("appeared", "gone",),
    ),
    (
        "both times",
        ("still_occupied", "changed", "more", "happened",),
    ),
    (
        "<unclear> unclear uncertain unknown open doubtful undecided ambiguous doubt inconclusive",
        ("cannot_tell",),
    ),
    (
        "change changed changes different differ differs difference differences compare altered",
        ("changed", "happened", "cannot_tell", "more",),
    ),
    (
        "happened happen happens became become becomes occurred <happened>",
        ("happened", "changed", "cannot_tell",),
    ),
    (
        "more fewer less grow grown grew fall fallen fell rise risen rose increase increased decrease "
        "decreased drop dropped larger smaller higher lower than compare compared <more> busier",
        ("more",),
    ),
    (
        "who",
        ("appeared", "gone", "still_occupied",),
    ),
    (
        "arrive arrives arrival",
        ("appeared", "happened",),
    ),
    (
        "going surroundings",
        ("describe",),
    ),
    (
        "<beyond>",
        ("beyond",),
    ),
    (
        "only",
        ("appeared", "gone", "beyond",),
    ),
    (
        "<first> first earlier previously before originally initially then",
        (*PAIR_INTENTS,),
    ),
    (
        "<second> <both> <since> afterwards later since today-not",
        (*PAIR_INTENTS,),
    ),
    (
        "time",
        ("still_occupied",),
    ),
    (
        "describe description overview summarise summarize summary situation sum brief briefing scenery",
        ("describe",),
    ),
    (
        "kind type sort class classify classification category nature ?classes categorise categorize",
        ("what",),
    ),
    (
        "count counts counted total tally sum",
        ("count", "third", "longer", "shorter", *PAIR_INTENTS,),
    ),
    (
        "many number",
        (*FILTERS, "length", *PAIR_INTENTS,),
    ),
    (
        "number",
        ("what", "length", "happened",),
    ),
)  # fmt: skip
CUES: dict[str, tuple[str, ...]] = {}
for _words, _intents in _CUES:
    for _word in _words.split():
        CUES[_word] = (*CUES.get(_word, ()), *_intents)

_LATER = "<second> now afterwards later currently"
_EARLIER = "<first> earlier previously before originally initially"
_MOVED = "change changed changes different differ differs difference differences compare altered"
# Of these, an intent needs one.
NEEDED: dict[str, frozenset[str]] = {
    intent: frozenset(words.split())
    for intent, words in {
        "count": (
            "many number count counts counted total tally sum"
        ),
        "longest": (
            "longest biggest largest lengthiest greatest maximum max"
        ),
        "shortest": (
            "shortest smallest tiniest littlest least minimum min"
        ),
        "length": (
            "long length lengths size sized big large measure measures measurement dimension dimensions "
            "extent"
        ),
        "beyond": (
            "<beyond> beyond outside partly partially partial wholly entirely fully fit extend reach "
            "stick run cut clipped cropped truncated cross crosses crossing edge edges border borders "
            "margin boundary incomplete touch runs off leave continue"
        ),
        "appeared": (
            "new newly newcomer newcomers arrival arrivals appear appeared arrive arrived came come "
            "turned showed joined entered fresh popped added <new>"
        ),
        "gone": (
            "left gone disappeared disappear departed depart departures missing vanished vanish went away "
            "leave leaving lost <gone>"
        ),
        "still_occupied": (
            "still remain remains remained stayed stay stays unchanged occupied persist persists "
            "persisted <both> both times"
        ),
        "cannot_tell": (
            "<unclear> unclear uncertain unknown open doubtful undecided ambiguous doubt inconclusive"
        ),
        "more": (
            "more fewer less grow grown grew fall fallen fell rise risen rose increase increased decrease "
            "decreased drop dropped larger smaller higher lower busier <more> many number "
            + _MOVED
        ),
        "count_first": _EARLIER,
        "count_second": _LATER,
        "changed": (
            "new happened happen occurred before "
            + _MOVED
        ),
    }.items()
}  # fmt: skip

# A mark that stands for a slot goes with these.
SLOTS: dict[str, tuple[str, ...]] = {
    "<bound>": ("which", "count", "exists", "third", "longer", "shorter", "longest", "shortest", *LISTED),
    "<part>": (*FILTERS, *LISTED),
    "<place>": ("length", "what", "happened"),
}
