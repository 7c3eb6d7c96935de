r"""Patterns for rewrites: which of them can run away.

CPython's `re` finds a match by backtracking: at each choice it takes the first way, and if that fails later it returns
and takes the next. One path of a few KiB can then take minutes, while all other clients of the gateway wait. Whether a
pattern can do so follows from the pattern alone, so it is checked once, at load.

    text ──▶ parse    a tree of single characters, sequences, choices and repeats
         ──▶ _Wiring  an automaton with one state for each character of the pattern (Glushkov's), which is in that state
                      when it has just read this character. `follow` holds what may come next, in the order in which
                      `re` tries it, and holds a state twice when two ways lead there: in (a*)* an "a" is followed by
                      an "a" in two ways, by the inner repeat and by the outer one
         ──▶ verdict

The attempts of `re` on a text are the ways through this automaton. If a text does not match, all ways are tried. So the
time is linear if, and only if, the number of ways to a state stays below a bound, however long the text is. There are
two cases, and no other, in which it does not:

    exponential   a state comes back to itself in two ways on one text:             (a|a)*  (\w+/?)*
    polynomial    two states come back to themselves on one text, and on that same
                  text the first also leads to the second:                          \d+\d+  (.*)/(.*)\.json

The second case is harmless if nothing can fail after the second state: in "/a/(.*)/(.*)" the last ".*" takes the rest
of any text, so `re` never returns. To decide this exactly, each state is joined with the set of states from which the
rest of the text would be accepted. A state in its own set is left at the first follower that is in its set, too. These
sets are the states of the automaton that reads backwards. A nested repeat is refused even if nothing can fail after it:
it has no use, and one more character in the pattern makes it run away.

The bound itself is the last check: (a?){30} matches in finitely many ways, but these are more than 100 million.

The characters are those of a decoded path without ASCII controls, which `paths` refuses. Characters that all classes of
a pattern treat alike are one letter here; `re` itself tells which class takes which character.

Repeats with a count are written out. A repeat with a wide span such as {1,64} is treated as if it had no upper end, but
is never trusted to continue, because it does end.

Sources: N. Weideman, B. van der Merwe, M. Berglund, B. Watson, "Analyzing matching time behavior of backtracking
regular expression matchers by using ambiguity of NFA" (CIAA 2016): the two criteria for matchers that try in order,
after A. Weber and H. Seidl, "On the degree of ambiguity of finite automata" (1991). S. Sugiyama and Y. Minamide,
"Checking time linearity of regular expression matching based on backtracking" (2014): the sets that look ahead.

This module is long because it is one algorithm: each stage above has meaning only for the next one, and a reader who
doubts the verdict needs all of them. It runs at load, and nothing of it where requests flow.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import combinations, pairwise, product
from operator import eq

from msgspec import Struct

from rawgate.errors import Key, Problem

# The tree


class One(Struct, frozen=True):
    """One character: `text` is what the pattern says of it ("a", "\\d", "[^/]", "."), `at` where, from 0."""

    text: str
    at: int


class Sequence(Struct, frozen=True):
    parts: "tuple[Node, ...]"


class Choice(Struct, frozen=True):
    branches: "tuple[Node, ...]"


class Repeat(Struct, frozen=True):
    """`least` to `most` times; `most` None: without end."""

    part: "Node"
    least: int
    most: int | None
    lazy: bool


Node = One | Sequence | Choice | Repeat


class NotTakenError(Exception):
    """A pattern is not allowed in rewrites. The message is the end of a sentence that starts with the pattern."""


_DEEPEST = 20
"""Levels of nested groups; real patterns have two or three."""

_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[dDwWsSafnrtv]|[^0-9A-Za-z])", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_REPEAT = re.compile(r"(?:([*+?])|\{(?!\})([0-9]*)(?:(,)([0-9]*))?\})([?+]?)")
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
_SIGNS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_OTHER_GROUPS = (
    (re.compile(r"\(\?<?[=!]"), "looks around"),
    (re.compile(r"\(\?P="), "matches a group again"),
    (re.compile(r"\(\?\("), "asks whether a group matched"),
    (re.compile(r"\(\?>"), "holds an atomic group"),
    (re.compile(r"\(\?#"), "holds a comment"),
    (re.compile(r"\("), "sets a flag"),
)
_EDGE = "is for the start or the end and stands elsewhere (expected none: the whole path is matched as it is)"
_NO_NAMES = "names a character in a way that is not taken here (expected the character, or \\xHH or \\uHHHH)"


def _unjudged(what: str) -> NotTakenError:
    return NotTakenError(f"{what}: in a rewrite that is not taken, because its time cannot be judged")


class _Parser:
    """Reads a pattern that `re` has compiled, so it need not look for faults that `re` refuses."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def choice(self, depth: int = 0) -> Node:
        if depth > _DEEPEST:
            raise NotTakenError(f"holds more than {_DEEPEST} groups within each other (expected fewer)")
        branches = [self._sequence(depth)]
        while self._next("|"):
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        if depth == 0:
            self._next("^") or self._next("\\A")
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            if depth == 0 and self._ends():
                break
            parts.append(self._repeated(self._atom(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _ends(self) -> bool:
        """Skip an anchor at the end of a branch, if there is one."""
        for anchor in ("$", "\\Z"):
            after = self.at + len(anchor)
            if self.text.startswith(anchor, self.at) and self.text[after : after + 1] in ("", "|"):
                self.at = after
                return True
        return False

    def _next(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def _atom(self, depth: int) -> Node:
        start = self.at
        first = self.text[start]
        if first == "(":
            return self._group(depth)
        if first in "^$":
            raise NotTakenError(f"holds a {first} that {_EDGE}")
        if first not in "[\\":
            self.at += 1
            return One(first, start)
        found = (_CLASS if first == "[" else _ESCAPE).match(self.text, start)
        if found is None:
            raise _not_an_escape(self.text[start : start + 2])
        if first == "[" and any(escaped[1] in "0123456789N" for escaped in _ESCAPED.finditer(found[0])):
            raise NotTakenError(_NO_NAMES)
        self.at = found.end()
        return One(found[0], start)

    def _group(self, depth: int) -> Node:
        found = _GROUP.match(self.text, self.at)
        if found is None:
            raise _unjudged(next(what for pattern, what in _OTHER_GROUPS if pattern.match(self.text, self.at)))
        self.at = found.end()
        inner = self.choice(depth + 1)
        self.at += 1  # its closing parenthesis
        return inner

    def _repeated(self, part: Node) -> Node:
        found = _REPEAT.match(self.text, self.at)
        if found is None:
            return part
        sign, low, comma, high, manner = found.groups()
        if manner == "+":
            raise _unjudged(f"holds a possessive repeat ({found[0]})")
        self.at = found.end()
        least, most = _SIGNS[sign] if sign else (int(low or 0), int(high) if high else None if comma else int(low))
        return Repeat(part, least, most, manner == "?")


def _not_an_escape(escape: str) -> NotTakenError:
    if escape[1:] in "123456789":
        return _unjudged(f"matches a group again ({escape})")
    if escape in ("\\b", "\\B"):
        return _unjudged(f"looks around ({escape})")
    return NotTakenError(_NO_NAMES if escape in ("\\0", "\\N") else f"holds a {escape} that {_EDGE}")


def parse(text: str) -> Node:
    """The tree of a pattern that `re` compiles. Raises `NotTakenError`."""
    return _Parser(text).choice()


# The automaton

_ACCEPT = -1
# A pattern beyond these bounds is refused unjudged. They allow a second of work at load, some thousand times the usual.
_MOST_STATES = 400
_MOST_VISITS = 2_000
_MOST_FOLLOWERS = 1_000
_MOST_WAYS_ON = 20_000
_WRITTEN_OUT = 8
"""Up to this span, a repeat {m,n} is written out; a wider one is a loop."""

_Way = tuple[int, bool]
"""A state that may come next, and whether it always may. After a wide {m,n} it may not, once the count is used up."""


class _TooLargeError(Exception):
    """The pattern is too large to be judged."""


class _Wiring:
    """The automaton of a tree. `ones[state]` is the character that a state from 1 on has read; state 0 has read
    nothing."""

    def __init__(self, tree: Node) -> None:
        self.ones: list[One] = [One("", 0)]
        self.follow: list[list[_Way]] = [[]]
        self._visits = 0
        self._mark = _ACCEPT
        self.follow[0] = self._enter(tree, [(_ACCEPT, True)])
        if sum(map(len, self.follow)) > _MOST_WAYS_ON:
            raise _TooLargeError

    def _enter(self, node: Node, after: list[_Way]) -> list[_Way]:
        """The ways into `node`. `after` are the ways that lead on from its end."""
        self._visits += 1
        if self._visits > _MOST_VISITS or len(self.ones) > _MOST_STATES or len(after) > _MOST_FOLLOWERS:
            raise _TooLargeError
        if isinstance(node, One):
            self.ones.append(node)
            self.follow.append(after)
            return [(len(self.ones) - 1, True)]
        if isinstance(node, Sequence):
            for part in reversed(node.parts):
                after = self._enter(part, after)
            return after
        if isinstance(node, Choice):
            return [way for branch in node.branches for way in self._enter(branch, after)]
        return self._repeat(node, after)

    def _repeat(self, node: Repeat, after: list[_Way]) -> list[_Way]:
        ways = after
        if node.most is None or node.most - node.least > _WRITTEN_OUT:
            ways = self._loop(node, after)
        else:
            for _ in range(node.most - node.least):
                ways = _either(self._enter(node.part, ways), after, node.lazy)
        for _ in range(node.least):
            ways = self._enter(node.part, ways)
        return ways

    def _loop(self, node: Repeat, after: list[_Way]) -> list[_Way]:
        # A mark stands for "once more or on" until the ways in are known. `re` ends a repeat after a pass that took
        # nothing, and goes on.
        self._mark -= 1
        mark, first = self._mark, len(self.ones)
        once = _replaced(self._enter(node.part, [(mark, True)]), mark, after)
        again = once if node.most is None else [(state, False) for state, _ in once]
        turn = _either(again, after, node.lazy)
        for state in range(first, len(self.ones)):
            self.follow[state] = _replaced(self.follow[state], mark, turn)
        return _either(once, after, node.lazy)


def _either(into: list[_Way], past: list[_Way], lazy: bool) -> list[_Way]:
    return past + into if lazy else into + past


def _replaced(ways: list[_Way], mark: int, by: list[_Way]) -> list[_Way]:
    made = [
        (new, sure and new_sure)
        for state, sure in ways
        for new, new_sure in (by if state == mark else ((state, True),))
    ]
    if len(made) > _MOST_FOLLOWERS:
        raise _TooLargeError
    return made


# Letters

_ASCII = sorted(map(chr, range(0x20, 0x7F)), key=lambda char: (not char.islower(), not char.isalnum(), char))
_BY_NUMBER = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")


def _beyond_ascii(text: str) -> Iterator[str]:
    r"""Of each range between the characters that the pattern names: one of each kind that \d, \w and \s tell apart."""
    written = text + "".join(chr(int(found[found.lastindex or 0], 16)) for found in _BY_NUMBER.finditer(text))
    named = {ord(char) for char in written + written.lower() + written.upper()}
    cuts = {cut for code in named for cut in (code, code + 1) if cut > 0x80}
    for low, high in pairwise(sorted(cuts | {0x80, 0x110000})):
        kinds = set[tuple[bool, ...]]()
        for char in map(chr, range(low, high)):
            kind = (char.isdecimal(), char.isalnum(), char.isspace())
            if kind not in kinds:
                kinds.add(kind)
                yield char
                if len(kinds) == 4:
                    break


def _letters(text: str, ones: list[One], flags: re.RegexFlag) -> dict[str, frozenset[int]]:
    """One character for all that are treated alike → the states that read it."""
    taken_by = {one.text: re.compile(one.text, flags) for one in ones[1:]}
    letters: dict[frozenset[str], str] = {}
    for char in (*_ASCII, *_beyond_ascii(text)):
        letters.setdefault(frozenset(one for one, takes in taken_by.items() if takes.fullmatch(char)), char)
    return {
        char: frozenset(state for state, one in enumerate(ones) if state and one.text in takers)
        for takers, char in letters.items()
    }


# Ways through it

_Step = tuple[str, int]
"""A letter, and the number of the set of states that accept the rest of the text behind it."""
_Graph = list[dict[_Step, list[int]]]
"""For each node: step → the nodes that `re` tries after it."""


class _Effort:
    """The work that is left before the pattern counts as too large."""

    def __init__(self, left: int = 200_000) -> None:
        self.left = left

    def spend(self, amount: int = 1) -> None:
        self.left -= amount
        if self.left < 0:
            raise _TooLargeError


def _plain(wiring: _Wiring, letters: dict[str, frozenset[int]]) -> _Graph:
    """The graph of all ways, as if the end always failed. Its nodes are the states."""
    read: list[list[str]] = [[] for _ in (*wiring.follow, _ACCEPT)]
    for char, takers in letters.items():
        for state in takers:
            read[state].append(char)
    graph: _Graph = []
    for ways in wiring.follow:
        steps: dict[_Step, list[int]] = {}
        for state, _ in ways:
            for char in read[state]:
                steps.setdefault((char, 0), []).append(state)
        graph.append(steps)
    return graph


class _Looking:
    """The graph of the ways that `re` tries. `re` does not look ahead; this graph does, to tell when a try must
    succeed.

    graph   its nodes are pairs of a state and a set of states that accept the rest
    places  (state, number of the set) → node
    """

    def __init__(self, wiring: _Wiring, letters: dict[str, frozenset[int]], effort: _Effort) -> None:
        self.graph: _Graph = []
        self.places: dict[tuple[int, int], int] = {}
        self._wiring = wiring
        self._letters = letters
        self._sets: list[int] = []  # each as a mask of bits
        self._before: list[list[_Step]] = []
        self._find_sets(effort)
        self._find_nodes(effort)

    def _find_sets(self, effort: _Effort) -> None:
        follow = self._wiring.follow
        surely = [sum(1 << state for state in {s for s, sure in ways if sure and s > 0}) for ways in follow]
        takers = {char: sum(1 << state for state in states) for char, states in self._letters.items()}
        numbers: dict[int, int] = {}

        def number(accepting: int) -> int:
            if accepting not in numbers:
                numbers[accepting] = len(numbers)
                self._sets.append(accepting)
                self._before.append([])
            return numbers[accepting]

        number(sum(1 << state for state, ways in enumerate(follow) if (_ACCEPT, True) in ways))
        for after, rest in enumerate(self._sets):  # grows on the way
            for char, mask in takers.items():
                effort.spend(len(surely) // 8)
                wanted = mask & rest
                before = number(sum(1 << state for state, ways in enumerate(surely) if ways & wanted))
                self._before[before].append((char, after))

    def _find_nodes(self, effort: _Effort) -> None:
        waiting = [(0, accepting) for accepting in range(len(self._sets))]
        self.places = {place: node for node, place in enumerate(waiting)}
        for state, accepting in waiting:  # grows on the way
            steps: dict[_Step, list[int]] = {}
            for step in self._before[accepting]:
                effort.spend()
                for tried in self._tried(state, step):
                    place = (tried, step[1])
                    if place not in self.places:
                        self.places[place] = len(waiting)
                        waiting.append(place)
                    steps.setdefault(step, []).append(self.places[place])
            self.graph.append(steps)

    def _tried(self, state: int, step: _Step) -> Iterator[int]:
        """The next states, up to the first from which the rest is accepted: `re` does not come back then."""
        takers, accepting = self._letters[step[0]], self._sets[step[1]]
        for tried, sure in self._wiring.follow[state]:
            if tried in takers:
                yield tried
                if sure and accepting >> tried & 1:
                    return


_Walker = tuple[int, ...]
"""The nodes of two or three walkers that read the same text. Of two that started together, a last item of 1 says that
they have parted."""


def _word(start: _Walker, goal: Callable[[_Walker], bool], onward: "_Onward", effort: _Effort) -> str | None:
    """A text that leads from `start` to a goal."""
    came: dict[_Walker, tuple[_Walker, str]] = {}
    waiting = [start]
    for here in waiting:  # grows on the way
        for char, there in onward(here):
            effort.spend()
            if goal(there):
                return _told(start, here, came) + char
            if there not in came:
                came[there] = (here, char)
                waiting.append(there)
    return None


_Onward = Callable[[_Walker], Iterable[tuple[str, _Walker]]]


def _told(start: _Walker, here: _Walker, came: dict[_Walker, tuple[_Walker, str]]) -> str:
    word = ""
    while here != start:
        here, char = came[here]
        word = char + word
    return word


def _two(graph: _Graph) -> _Onward:
    """Two walkers, (node, node, parted) → where they may be one letter later."""

    def onward(here: _Walker) -> Iterator[tuple[str, _Walker]]:
        one, other, parted = here
        for step, tried in graph[one].items():
            if parted:
                yield from ((step[0], (*sorted(both), 1)) for both in product(set(tried), graph[other].get(step, ())))
                continue
            for node, ways in Counter(tried).items():
                yield step[0], (node, node, 0)
                if ways > 1:
                    yield step[0], (node, node, 1)
            yield from ((step[0], (*sorted(both), 1)) for both in combinations(set(tried), 2))

    return onward


def _three(graph: _Graph) -> _Onward:
    """Three walkers, each on a way of their own."""

    def onward(here: _Walker) -> Iterator[tuple[str, _Walker]]:
        first, second, third = (graph[node] for node in here)
        for step, tried in first.items():
            if step in second and step in third:
                yield from ((step[0], there) for there in product(set(tried), set(second[step]), set(third[step])))

    return onward


def _reach(graph: _Graph) -> list[set[int]]:
    """Node → the nodes to which one letter or more lead."""
    nexts = [{node for tried in steps.values() for node in tried} for steps in graph]
    reached = []
    for start in nexts:
        seen, waiting = set(start), list(start)
        while waiting:
            new = nexts[waiting.pop()] - seen
            seen |= new
            waiting.extend(new)
        reached.append(seen)
    return reached


_MOST_WAYS = 16
"""In which one text may be matched up to one state."""


def _too_many(graph: _Graph, starts: Iterable[int], effort: _Effort) -> bool:
    """Whether some text leads to a node in more than `_MOST_WAYS` ways: for graphs where the number has a bound."""
    waiting: list[tuple[tuple[int, int], ...]] = [((start, 1),) for start in starts]
    seen = set(waiting)
    while waiting:
        reached: dict[_Step, Counter[int]] = {}
        for node, ways in waiting.pop():
            for step, tried in graph[node].items():
                effort.spend(len(tried))
                counted = reached.setdefault(step, Counter())
                for there in tried:
                    counted[there] += ways
        for counted in reached.values():
            if max(counted.values()) > _MOST_WAYS:
                return True
            found = tuple(sorted(counted.items()))
            if found not in seen:
                seen.add(found)
                waiting.append(found)
    return False


# The verdict

_INSTEAD = r"(expected parts that cannot share text, e.g. [^/]+ in place of .+, or (?:\w+/)* in place of (\w+/?)*)"


class _Judge:
    """One pattern before the criteria of the module's head."""

    def __init__(self, text: str, tree: Node, flags: re.RegexFlag) -> None:
        self.wiring = _Wiring(tree)
        self.letters = _letters(text, self.wiring.ones, flags)
        self.effort = _Effort()
        self.plain = _plain(self.wiring, self.letters)
        self.reach = _reach(self.plain)
        self.loops = [state for state, reached in enumerate(self.reach) if state in reached]

    def verdict(self) -> str:
        """The fault of the pattern as the end of a sentence, or ""."""
        if not self._ambiguous():
            return ""
        found = self._within_a_loop()
        if found:
            return found
        suspects = [
            (first, last)
            for first, last in product(self.loops, self.loops)
            if last in self.reach[first] and first not in self.reach[last] and self._shared(self.plain, first, last)
        ]
        if not suspects and not _too_many(self.plain, [0], self.effort):
            return ""
        looking = _Looking(self.wiring, self.letters, self.effort)
        return self._between_loops(looking, suspects) or self._in_number(looking)

    def _ambiguous(self) -> bool:
        met = _word((0, 0, 0), lambda there: there[0] == there[1] and there[2] == 1, _two(self.plain), self.effort)
        return met is not None

    def _within_a_loop(self) -> str:
        for state in self.loops:
            home = partial(eq, (state, state, 1))
            word = _word((state, state, 0), home, _two(self.plain), self.effort)
            if word is not None:
                return (
                    f"can repeat {self._named(state)} over the same text in two ways, such as {word!r}: each time that"
                    f" a path holds it doubles the time that the path takes {_INSTEAD}"
                )
        return ""

    def _between_loops(self, looking: _Looking, suspects: list[tuple[int, int]]) -> str:
        for first, last in suspects:
            for (state, accepting), node in looking.places.items():
                other = looking.places.get((last, accepting))
                if state != first or other is None:
                    continue
                word = self._shared(looking.graph, node, other)
                if word:
                    return (
                        f"has two repeats, of {self._named(first)} and of {self._named(last)}, that can share the same"
                        f" text, such as {word!r} many times, so that a long path takes minutes {_INSTEAD}"
                    )
        return ""

    def _in_number(self, looking: _Looking) -> str:
        starts = [node for (state, _), node in looking.places.items() if state == 0]
        if not _too_many(looking.graph, starts, self.effort):
            return ""
        return (
            f"can match one text in more than {_MOST_WAYS} ways, all of which are tried before it fails"
            f" (expected fewer parts that can be left out, or that take the same text)"
        )

    def _shared(self, graph: _Graph, first: int, last: int) -> str | None:
        """A text on which both come back to themselves, and the first leads to the last."""
        return _word((first, first, last), partial(eq, (first, last, last)), _three(graph), self.effort)

    def _named(self, state: int) -> str:
        one = self.wiring.ones[state]
        return f"{one.text!r} (character {one.at + 1})"


def danger(text: str, flags: re.RegexFlag = re.NOFLAG) -> str:
    """Why a pattern that `re` compiles is refused, as the end of a sentence that starts with it; or ""."""
    try:
        return _Judge(text, parse(text), flags).verdict()
    except NotTakenError as found:
        return str(found)
    except _TooLargeError:
        return "is too large to be judged (expected a shorter one, with fewer repeats and smaller counts)"


# What comes to a route

_BEHIND, _AFTER_SLASH, _WITHIN = -1, -2, -3
"""Places in a path: right behind the route's prefix, where it may end or go on with a slash; and further on. Parameters
and queries, too, are asked for there, by patterns that expect to see them."""


def _next_place(prefix: str, place: int, char: str, gone: Collection[str]) -> int | None:
    """Where `char` leads to in a path of the route; None when no such path has it there."""
    if place >= 0:
        if char != prefix[place]:
            return None
        ends = place + 1 == len(prefix)
        return place + 1 if not ends else _AFTER_SLASH if char == "/" else _BEHIND
    if char in gone or (place == _AFTER_SLASH and f"/{char}" in gone) or (place == _BEHIND and char not in "/;?"):
        return None
    return _AFTER_SLASH if char == "/" else _WITHIN


def matches_below(text: str, prefix: str, flags: re.RegexFlag = re.NOFLAG, *, gone: Collection[str] = ()) -> bool:
    """Whether a pattern that is taken matches any path that begins with the whole segments of `prefix`. `gone`: what
    the paths that it is matched on have no more, ";" or "//". When it cannot be told, true."""
    wiring = _Wiring(parse(text))
    takers = {one.text: re.compile(one.text, flags) for one in wiring.ones[1:]}
    chars = {*_ASCII, *_beyond_ascii(text), *prefix}
    takes = {one: frozenset(char for char in chars if taker.fullmatch(char)) for one, taker in takers.items()}
    waiting = [(0, 0)]
    seen = set(waiting)
    for state, place in waiting:  # grows on the way
        for after, _ in wiring.follow[state]:
            if after == _ACCEPT:
                if place < 0:
                    return True
                continue
            for char in takes[wiring.ones[after].text]:
                there = _next_place(prefix, place, char, gone)
                if there is not None and (after, there) not in seen:
                    seen.add((after, there))
                    waiting.append((after, there))
    return False


def compile_pattern(
    text: str, where: tuple[Key, ...], problems: list[Problem], *, folds: bool = False
) -> re.Pattern[str] | None:
    """Compile a pattern. `where`: its key path; `folds`: it ignores the case of letters. None and a Problem if it does
    not compile or can run away."""
    flags = re.IGNORECASE if folds else re.NOFLAG
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            pattern = re.compile(text, flags)
    except FutureWarning as warning:
        problems.append(
            Problem(where, f"is to mean something else in a later Python: {warning} (expected a \\ before it)")
        )
        return None
    except (re.error, OverflowError, RecursionError) as error:
        problems.append(Problem(where, f"is not a regular expression: {error}"))
        return None
    found = danger(text, flags)
    if found:
        problems.append(Problem(where, found))
        return None
    return pattern
