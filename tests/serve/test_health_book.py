"""What the book of all processes decides, tells the operator, and tells who begins later."""

from msgspec.structs import replace

from rawgate.relay.endpoints import Place
from rawgate.serve.channel import Checked, Ejected, Failing, News
from rawgate.serve.health_book import HealthBook

A, B = (Place(host=name, port=80) for name in "ab")


def checked(failure: str, place: Place = A, address: str = "") -> Checked:
    return Checked("u", place.key, place.authority, address, failure)


def failing(place: Place = A, last: int = 0, upstream: str = "u") -> Failing:
    return Failing(upstream, place.key, place.authority, "5 failures in a row, the last: timed out", 10.0, last)


class Host:
    """A book, and what it said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.book = HealthBook(self.said.append)

    def hear(self, message: Checked | Failing, now: float = 0.0, by: int = 0) -> News | None:
        return self.book.hear(message, by, now)


def test_each_change_is_told_once() -> None:
    host = Host()
    for failure in ("status 503", "timed out", "", ""):
        assert host.hear(checked(failure)) == checked(failure), "all workers hear of each"
    assert host.said == [
        "upstream u: a:80 is left out: health check: status 503",
        "upstream u: a:80 passes its health checks again",
    ]


def test_what_is_gone_is_forgotten_and_does_not_pass() -> None:
    host = Host()
    host.hear(checked("status 503"))
    assert list(host.book.failed) == [checked("status 503")]
    gone = replace(checked(""), is_gone=True)
    assert host.hear(gone) == gone
    assert not host.book.failed
    assert not host.book.news()
    assert host.said == ["upstream u: a:80 is left out: health check: status 503"]


def test_an_address_is_told_by_itself() -> None:
    host = Host()
    host.hear(checked("status 503", address="10.0.0.1"))
    host.hear(checked("status 503"))
    assert host.said == [
        "upstream u: a:80 at 10.0.0.1 is left out: health check: status 503",
        "upstream u: a:80 is left out: health check: status 503",
    ]


def test_an_ejection_is_decided_and_its_end_told() -> None:
    host = Host()
    ejected = host.hear(failing(), 100.0, by=3)
    assert isinstance(ejected, Ejected)
    assert (ejected.until, ejected.number, ejected.by) == (110.0, 1, 3)
    assert host.said == ["upstream u: a:80 is ejected for 10s: 5 failures in a row, the last: timed out"]
    assert host.book.due == 110.0
    host.book.tick(109.9)
    assert len(host.said) == 1
    host.book.tick(110.0)
    assert host.said[1:] == ["upstream u: a:80 is not ejected any more"]
    assert host.book.due == float("inf")


def test_who_asked_without_knowing_of_the_last_one_is_told_of_it() -> None:
    host = Host()
    first = host.hear(failing(), by=0)
    assert host.hear(failing(B), by=1) == first
    assert len(host.said) == 1
    second = host.hear(failing(B, last=1), by=1)
    assert isinstance(second, Ejected)
    assert second.number == 2


def test_who_begins_later_learns_all_that_holds() -> None:
    host = Host()
    host.hear(checked("status 503"))
    host.hear(checked("timed out", B))
    host.hear(checked("", B))
    first, second = host.hear(failing()), host.hear(failing(B, 1), now=5.0)
    assert host.book.news() == [checked("status 503"), first, second]
    host.book.tick(12.0)
    assert host.book.news() == [checked("status 503"), second]
    host.book.tick(100.0)
    assert host.book.news() == [checked("status 503"), second], "the number of the last one has to be known"


def test_what_a_reload_takes_away_is_forgotten() -> None:
    host = Host()
    host.hear(checked("status 503"))
    host.hear(failing())
    host.book.renew({"u"}, {"u"})
    assert len(host.book.news()) == 2
    host.book.renew({"v"}, {"v"})
    assert host.book.news() == []
    host.book.tick(100.0)
    assert len(host.said) == 2, "what was taken back is not told to be over"
    ejected = host.hear(failing(), 20.0)
    assert isinstance(ejected, Ejected)
    assert (ejected.until, ejected.number) == (30.0, 1)
