r"""Patterns of rewrites: which are taken, and that those which are taken never run away.

The verdict speaks of `re`, but `re` cannot be asked how often it tried. So a matcher of the tests' own walks the parsed
tree in the order in which `re` does, and counts its attempts; that it gives the answers of `re` is tested, too.
"""

import re
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rawgate.errors import Problem
from rawgate.policy.patterns import (
    Choice,
    Node,
    One,
    Repeat,
    Sequence,
    compile_pattern,
    danger,
    matches_below,
    parse,
)

WHERE = ("routes", 3, "rewrite", "pattern")


class TooManyAttempts(Exception):  # noqa: N818 - not an error: one of two answers
    pass


class Attempts:
    """Matches as `re` does: each way in its order, back to the next when one fails; counts the ways that it enters."""

    def __init__(self, most: int = 100_000) -> None:
        self.left = most

    def ends(self, node: Node, text: str, at: int) -> Iterator[int]:
        """Where a match of `node` from `at` may end, the first choice first."""
        self.left -= 1
        if self.left < 0:
            raise TooManyAttempts
        if isinstance(node, One):
            if at < len(text) and re.fullmatch(node.text, text[at]):
                yield at + 1
        elif isinstance(node, Sequence):
            yield from self._sequence(node.parts, text, at)
        elif isinstance(node, Choice):
            for branch in node.branches:
                yield from self.ends(branch, text, at)
        else:
            yield from self._repeat(node, text, at, 0)

    def _sequence(self, parts: tuple[Node, ...], text: str, at: int) -> Iterator[int]:
        if not parts:
            yield at
            return
        for end in self.ends(parts[0], text, at):
            yield from self._sequence(parts[1:], text, end)

    def _repeat(self, node: Repeat, text: str, at: int, passes: int) -> Iterator[int]:
        if node.lazy and passes >= node.least:
            yield at
        if node.most is None or passes < node.most:
            for end in self.ends(node.part, text, at):
                if end > at or passes < node.least:
                    yield from self._repeat(node, text, end, passes + 1)
                else:
                    yield at
        if not node.lazy and passes >= node.least:
            yield at


def matches(tree: Node, text: str) -> bool:
    return any(end == len(text) for end in Attempts().ends(tree, text, 0))


def attempts(tree: Node, text: str) -> int:
    counter = Attempts()
    most = counter.left
    any(end == len(text) for end in counter.ends(tree, text, 0))
    return most - counter.left


EXPONENTIAL = [
    r"(\w+/?)*\.json",
    r"/re/(\w+/?)*\.json",
    "(a|a)*b",
    "(a|ab|b)*c",
    "(a*)*b",
    "(a*)*",
    "(.+)+",
    "(.*)*",
    "(a+)+$",
    "(?:a+?)+?b",
    "(a?b?)*c",
    "(?:.*a|.*b)*",
    "(?:.*x|.)*",
    "([a-z]+|[a-f]+)*!",
    r"(\w|\d)+x",
    "(é|\\w)+x",
    "(\\xe9|\\w)+x",
    "([à-ÿ]|\\W)*x",  # they share the sign ÷ only
    "(?:[a-z]{1,64}){1,64}",
    "(a{2}|a{3})*b",
    "(/.*)*x",
]
POLYNOMIAL = [
    r"(.*)/(.*)\.json",
    r"\d+\d+x",
    ".*a.*b",
    "x*x*",
    "(.*)(.*)x",
    "/a(.*?)b(.*?)c",
    "/(.*)/(.*)/(.*)x",
    "/[a-z]+/?[a-z]*!",
    "/[a-z]{1,64}[a-z0-9]{1,64}x",
    "(.*)x(.{0,300})",  # a count that ends: what follows may fail
    "(?:(.*)/(.*)a|(.*))",  # matches in the end, after it has failed for long
    "(a*)(b?)(a*)c",
    r"\s*\s*x",
]
TOO_MANY_WAYS = [
    "/(?:" + "|".join("a" * 17) + ")b",
    "(?:a?){30}a{30}",
    "(?:a|a){25}",
    "(a{0,8}){8}x",
    "(?:a?)*(?:b?)*(?:c?)*(?:d?)*(?:e?)*x",
]
HARMLESS = [
    "/(?:a|a){4}b",
    "/api/(.*)",
    "/a/(.*)/(.*)",
    "/a/(.*)/(.*)/(.*)",
    "/users/([0-9]+)/(.*)",
    "/x/([^/]+)/([^/]+)",
    r"/v(\d+)/(\w+)",
    "/(?P<name>[a-z-]+)(/.*)?",
    "(.*)",
    "(.*)(/.*)?",
    "/(.*)(.*)",
    "/(.+)-(.+)",
    "/(.*?)/(.*)",
    "/([^/]*)/?(.*)",
    "/(.*)/edit/(.*)",
    r"/(.*)\.html",
    r"/index\.php/(\w+)/([0-9]+)",
    r"/(\w+(?:-\w+)*)",
    r"/(?:\w+/)*(\w+)\.json",
    "/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}/(.*)",
    "/[0-9a-f]{64}",
    r"/(\d{4})/(\d{1,2})/(\d{1,2})/([^/]+)",
    "/[a-z]{2}(?:-[A-Z]{2})?/(.*)",
    "/a{1,100}/b",
    "/.*a.{12}",
    "/(en|de|fr)/(.*)",
    "/(.+/)?(.*)",
    "/((?:[^/]+/)*)([^/]*)",
    "/(?P<lang>[a-z]{2})/(?P<rest>.*?)/?",
    r"/(.*?)(\.html)?",
    r"/([^.]*)\.(?:png|jpe?g|gif)",
    r"/a/([^/]{1,64})/([^/]{1,64})/(.*)",
    "/(?:" + "|".join(f"service-{name}" for name in "abcdefgh") + ")/(.*)",
    r"/[\w.~-]+/[^/]+/.*",
    "/@me/(.*)",
    "/café/(.*)",
    "/(a|aa)/b",
    "^/a(/x)?$",
    r"\A/a|/b\Z",
    "/a{399}",
    "/{id}/x{2,}{",
    r"/[]a-]\x2e\u00e9[^]]",
    "",
]
NOT_TAKEN = [
    ("(?=/a)/a", "looks around"),
    ("(?!/a)/b", "looks around"),
    ("/a(?<=a)", "looks around"),
    ("/a(?<!b)", "looks around"),
    (r"/a\b", "looks around (\\b)"),
    (r"/a\Bb", "looks around (\\B)"),
    (r"/(a)\1", "matches a group again (\\1)"),
    ("/(?P<n>a)(?P=n)", "matches a group again"),
    ("/(a)?(?(1)b|c)", "asks whether a group matched"),
    ("(?i)/a", "sets a flag"),
    ("/(?i:a)", "sets a flag"),
    ("/a(?#why)", "holds a comment"),
    ("/a++", "holds a possessive repeat (++)"),
    ("/a{2}+", "holds a possessive repeat ({2}+)"),
    ("/(?>a)", "holds an atomic group"),
    ("/a^b", "holds a ^ that is for the start or the end"),
    ("/(a$)", "holds a $ that is for the start or the end"),
    (r"/a\Zb", "holds a \\Z that is for the start or the end"),
    (r"/\0", "names a character"),
    (r"/\N{BULLET}", "names a character"),
    (r"/[\N{BULLET}]", "names a character"),
    (r"/[\351]", "names a character"),
    ("(" * 21 + "a" + ")" * 21, "more than 20 groups"),
    ("/a{400}", "is too large to be judged"),
    ("(){1000000000}", "is too large to be judged"),
    ("(((a{99}){99}){99}){99}", "is too large to be judged"),
    (".{12}a.*x.*", "is too large to be judged"),
    ("(?:" + "|".join("abcdefghijklmnopqrstuvwxyz" * 6) + ")*", "is too large to be judged"),
    ("/[[a]", "is to mean something else in a later Python: Possible nested set at position 2"),
    ("/(", "is not a regular expression"),
    ("/" + "(" * 5000 + ")" * 5000, "is not a regular expression"),
    ("/a{99999999999999999999}", "is not a regular expression"),
]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        *((pattern, "over the same text in two ways") for pattern in EXPONENTIAL),
        *((pattern, "that can share the same text") for pattern in POLYNOMIAL),
        *((pattern, "in more than 16 ways") for pattern in TOO_MANY_WAYS),
        *NOT_TAKEN,
    ],
)
def test_refused(pattern: str, words: str) -> None:
    problems: list[Problem] = []
    assert compile_pattern(pattern, WHERE, problems) is None
    (problem,) = problems
    assert problem.path == WHERE
    assert words in problem.message


@pytest.mark.parametrize("pattern", HARMLESS)
def test_accepted(pattern: str) -> None:
    problems: list[Problem] = []
    compiled = compile_pattern(pattern, WHERE, problems)
    assert problems == []
    assert compiled == re.compile(pattern)


def test_the_words_say_where_and_what_instead() -> None:
    assert danger(r"/re/(\w+/?)*\.json") == (
        "can repeat '/' (character 9) over the same text in two ways, such as 'aa/': each time that a path holds it"
        " doubles the time that the path takes (expected parts that cannot share text, e.g. [^/]+ in place of .+, or"
        r" (?:\w+/)* in place of (\w+/?)*)"
    )
    assert danger(r"/\d+\d+x") == (
        r"has two repeats, of '\\d' (character 2) and of '\\d' (character 5), that can share the same text, such as"
        " '00' many times, so that a long path takes minutes (expected parts that cannot share text, e.g. [^/]+ in"
        r" place of .+, or (?:\w+/)* in place of (\w+/?)*)"
    )


# The pumped texts that the criteria promise for what they refuse: without them, the counting below could not fail.


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a*)*b", r"(\w+/?)*\.json", "(a?b?)*c", "(?:a?){30}a{30}"])
def test_what_doubles_is_refused_for_a_reason(pattern: str) -> None:
    with pytest.raises(TooManyAttempts):
        attempts(parse(pattern), "a" * 25 if "b?" not in pattern else "ab" * 25)


@pytest.mark.parametrize(
    ("pattern", "pump"), [(r"\d+\d+x", "0"), (".*a.*b", "a"), (r"(.*)/(.*)\.json", "/"), ("(?:(.*)/(.*)a|(.*))", "/")]
)
def test_what_squares_is_refused_for_a_reason(pattern: str, pump: str) -> None:
    tree = parse(pattern)
    assert not grows_evenly(tree, "", pump, "!")


def grows_evenly(tree: Node, before: str, pump: str, after: str) -> bool:
    """Whether twice as many pumps cost about twice as much more: four times as much would be a square."""
    small, middle, large = (attempts(tree, before + pump * times + after) for times in (20, 40, 80))
    return large - middle <= 3 * (middle - small) + 100


# Random patterns

_ones = st.sampled_from(["a", "b", "/", ".", r"\w", r"\d", r"\W", "[ab]", "[^/]", "[^a]", "é", r"\."])


def _repeated(part: str, sign: str) -> str:
    return f"(?:{part}){sign}"


_signs = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}?", "{2,}", "{1,20}", "{0}", "{,1}"])
_patterns = st.recursive(
    _ones,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.builds(_repeated, inner, _signs),
        st.builds("{}{}".format, _ones, _signs),
        st.builds("({}|{})".format, inner, inner),
    ),
    max_leaves=8,
)
_words = st.text(alphabet="ab/.1é!", max_size=6)


@given(_patterns, st.lists(_words, min_size=1, max_size=10))
@example("(?:a?|b)*?", ["ab", "ba"])
@example("(?:(?:a|)(?:|b)){2}", ["", "ab", "ba", "aab"])
def test_the_tree_matches_what_the_pattern_matches(pattern: str, words: list[str]) -> None:
    tree, compiled = parse(pattern), re.compile(pattern)
    for word in words:
        try:
            assert matches(tree, word) == (compiled.fullmatch(word) is not None), word
        except TooManyAttempts:
            assert danger(pattern)


@settings(max_examples=300, deadline=None)
@given(_patterns, _words, _words.filter(bool), _words)
@example("/a/(.*)/(.*)/(.*)", "/a/", "/", "")
@example("(.*)x?(.*)", "", "x", "")
def test_what_is_accepted_never_runs_away(pattern: str, before: str, pump: str, after: str) -> None:
    assume(not danger(pattern))
    assert grows_evenly(parse(pattern), before, pump, after)


@pytest.mark.parametrize("pattern", HARMLESS)
def test_the_table_of_the_accepted_never_runs_away(pattern: str) -> None:
    tree = parse(pattern)
    lead = {"", *re.findall(r"[a-z@]+", pattern)}
    for before, pump, after in product({f"/{word}/" for word in lead} | {""}, ("a", "/", "-a", "0", "a/"), ("", "!")):
        assert grows_evenly(tree, before, pump, after), (before, pump, after)


@given(st.text(alphabet=r"ab/.*+?{}()[]|\^$-,12:PdwsZA=!<>", max_size=12))
def test_what_re_compiles_has_a_verdict(pattern: str) -> None:
    """Whatever `re` takes is read to its end, or refused in words."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, FutureWarning):
        return
    found = danger(pattern)
    assert "\n" not in found
    if not found:
        tree = parse(pattern)
        for word in ("", "a", "b", "/", "ab", "a/b", "aab", "^", "{1}"):
            assert matches(tree, word) == (compiled.fullmatch(word) is not None), word


# Which of a route's paths a pattern can match


@pytest.mark.parametrize(
    ("text", "prefix", "below", "normal"),
    [
        ("/a", "/a", True, True),
        ("/a/(.*)", "/a", True, True),
        ("(/x)?/a/b", "/a", True, True),
        ("/[^b].*", "/a", True, True),
        (".*", "/a", True, True),
        ("(.*)/b", "/a", True, True),
        (r"/a/\d{3,20}", "/a", True, True),
        ("/é/(.*)", "/é", True, True),
        ("/b/(.*)", "/a", False, False),
        ("/ab.*", "/a", False, False),
        ("/[^a].*", "/a", False, False),
        ("/a", "/a/", False, False),
        ("/a", "/a/b", False, False),
        ("/a/x", "/a/b", False, False),
        ("/b", "/", True, True),
        ("/a;v=1/b", "/a", True, False),
        ("/a//b", "/a", True, False),
        ("/a/(b|;)", "/a", True, True),
    ],
)
def test_what_a_pattern_matches_below_a_prefix(text: str, prefix: str, below: bool, normal: bool) -> None:
    assert matches_below(text, prefix) == below
    assert matches_below(text, prefix, gone={";", "//"}) == normal


def test_letters_in_either_case_match_below_a_prefix() -> None:
    assert matches_below("/A/x", "/a", re.IGNORECASE)
    assert not matches_below("/A/x", "/a")


@given(st.from_regex(r"(/|a|b|ab|\.|\[\^a\]|a\?|\(a\|/b\)|/\+|\.\*){1,6}", fullmatch=True))
def test_a_pattern_without_a_match_below_a_prefix_is_found(text: str) -> None:
    assume(not danger(text))
    pattern = re.compile(text)
    short = ["/a" + "".join(rest) for count in range(4) for rest in product("/ab;", repeat=count)]
    below = [path for path in short if path == "/a" or path.startswith("/a/")]
    found = any(pattern.fullmatch(path) for path in below)
    assert not found or matches_below(text, "/a")
    found = any(pattern.fullmatch(path) for path in below if "//" not in path and ";" not in path)
    assert not found or matches_below(text, "/a", gone={";", "//"})
