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
a about abouts actually afloat again all also altogether am among amount an annotate answer any anything
anywhere approximate approximately approximation are arrange as asked asking assess assigned at available
basically be been being bright bring by calls can check chip circle cite compute confirm confirmed
contain contained containing contains correspond corresponding corresponds could counting curious currently
d describing detect detectable detected detecting determine determined did display displayed displaying do
does dot dots draw during each entire entries entry enumerate estimate estimated every everything evidence
exact exactly exist existing exists explain extract fetch figure figures filter find finding folks for found
frame from full generally get give given got grateful guess guys had has have having headcount hear held
hello help here hey hi highlight hold holds hope hopefully hoping how i identifiable identify image
imagery images in include included includes including indeed indicate indicated indicates indicating
indication indications interested into is it its itself just kindly know known label labeled labelled let
lie lies like list listed literally ll locate located locating location locations look looked looking lying
made make many mark marked marker marking mate may maybe me mean measuring mention might my name necessary
need note noted notice noticed now number numbered observable observe observed of ok okay on one ones onto
our out outline overall particular pass per perhaps permit pick picked picture piece pieces pinpoint place
places please point pointed pointing position positions possibly presence present proceed provide pull put
quantify quantity question quick quickly radar re readers really reckon recognise recognised recognize
recognized recorded registered report reported represent represented represents request requested requesting
require requires retrieve return returns reveal revealed reveals rough roughly s said sar satellite say says
scene see seeing seem seems seen select sense short show showing shown shows sight sign signals signs simply
sir sit sits sitting situated so some something somewhere specify spot spots spotted spotting stand standing
stands state such suppose supposed sure tag tagged tallied tell telling terms than thank thanks that the
their them there these they thing think this those thought to total trace traces true truly try trying
understand up us ve verify view visible want wanted wants was we were what where whereabouts whether which
while whole wish with wonder wondering words would write yeah yes you your
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
    (
        "only",
        ("appeared", "gone", "beyond",),
    ),
    (
        "class classified classify labelled labeled",
        (*FILTERS, "what"),
    ),
    (
        "fall falls within",
        ("third",),
    ),
    (
        "going coming come poke pokes poking hang hangs hanging overlap overlaps overlapping intersect "
        "intersects whole "
        "intersecting exit exits exiting protrude protrudes partway into partial",
        ("beyond",),
    ),
    (
        "going move stay story status outcome",
        ("happened",),
    ),
    (
        "status outcome outcomes result results guessing impossible hard undetermined unresolved unsure "
        "doubts cases case unconfirmed unclarified indeterminate vague",
        ("cannot_tell",),
    ),
    (
        "appear appears",
        ("still_occupied", "gone", "what"),
    ),
    (
        "staying persistent persisting stationary common same static lasting keep keeps kept",
        ("still_occupied",),
    ),
    (
        "same movement movements moved move compare comparison main developments development update updates",
        ("changed",),
    ),
    (
        "same down traffic trend numbers quieter quiet busy busier decline declined growth shrink shrunk "
        "dwindled dropped doubled getting busier",
        ("more",),
    ),
    (
        "summary summarise summarize sum situation overview",
        ("changed",),
    ),
    (
        "current",
        (*FILTERS, *PAIR_INTENTS),
    ),
    (
        "recently incoming joining arriving",
        ("appeared",),
    ),
    (
        "departing outgoing leavers absent missed cleared",
        ("gone",),
    ),
    (
        "identity identification categorised categorized assigned resemble resembles",
        ("what",),
    ),
    (
        "sitrep rundown contents content characterise characterize explanation happening through walk talk "
        "describing outline sketch impression",
        ("describe",),
    ),
    (
        "sizes lengthwise",
        ("length",),
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
            "quantity quantify counting amount headcount figure tallied "
            "many number count counts counted total tally sum"
        ),
        "longest": (
            "longest biggest largest lengthiest greatest maximum max"
        ),
        "shortest": (
            "shortest smallest tiniest littlest least minimum min"
        ),
        "length": (
            "measuring metres meters m "
            "long length lengths size sized big large measure measures measurement dimension dimensions "
            "extent"
        ),
        "beyond": (
            "going coming come poke pokes poking hang hangs hanging overlap overlaps intersect exit "
            "exits protrude partial "
            "sticking running reaching touching crossing goes whole completely "
            "<beyond> beyond outside partly partially partial wholly entirely fully fit extend reach "
            "stick run cut clipped cropped truncated cross crosses crossing edge edges border borders "
            "margin boundary incomplete touch runs off leave continue"
        ),
        "appeared": (
            "recently arriving incoming "
            "new newly newcomer newcomers arrival arrivals appear appeared arrive arrived came come "
            "turned showed joined entered fresh popped added <new>"
        ),
        "gone": (
            "absent cleared departing "
            "left gone disappeared disappear departed depart departures missing vanished vanish went away "
            "leave leaving lost <gone>"
        ),
        "still_occupied": (
            "remaining staying persistent persisting stationary common same static keep "
            "still remain remains remained stayed stay stays unchanged occupied persist persists "
            "persisted <both> both times"
        ),
        "cannot_tell": (
            "guessing impossible hard undetermined unresolved unsure doubts unconfirmed indeterminate "
            "<unclear> unclear uncertain unknown open doubtful undecided ambiguous doubt inconclusive"
        ),
        "more": (
            "down traffic trend quieter decline declined growth same "
            "more fewer less grow grown grew fall fallen fell rise risen rose increase increased decrease "
            "decreased drop dropped larger smaller higher lower busier <more> many number "
            + _MOVED
        ),
        "count_first": _EARLIER + " then",
        "count_second": _LATER + " current present",
        "changed": (
            "same movement moved anything update updates "
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
