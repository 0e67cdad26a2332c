"""Pages of searches against brute force: every order, grouped or not, while rows come and go."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from app.conversations.model import Message
from app.conversations.ranking import score
from app.conversations.search import Limits
from app.kit.pages import Read, Run
from app.kit.paging import Position, Sort
from app.services import Services
from tests.conftest import Person
from tests.conversations.profiling import profiled
from tests.conversations.searching import START, Archive, Json, results, search

pytestmark = pytest.mark.mongod

Key = tuple[Any, ...]
TAGS = ["film", "日常"]


@dataclass
class World:
    """Ana's conversations with random messages, and Ben's with the same words."""

    archive: Archive
    services: Services
    ana: Person
    tags: dict[ObjectId, list[str]]
    rows: list[Message]
    chance: random.Random

    def message(self, home: ObjectId) -> Message:
        words = self.chance.choices(["mocha", "latte", "天气", "noon"], k=self.chance.choice([1, 3, 12, 80]))
        return self.archive.message(
            self.ana.id,
            home,
            " ".join(words),
            role=self.chance.choice(["user", "assistant"]),
            created_at=START + timedelta(minutes=self.chance.randrange(40)),  # with ties
        )

    async def add(self, count: int) -> None:
        new = [self.message(self.chance.choice(list(self.tags))) for _ in range(count)]
        await self.services.conversations.messages.insert_many(new)
        self.rows += new

    def matching(self, word: str = "mocha", **fields: Any) -> list[Message]:
        return [
            row
            for row in self.rows
            if word in row.content and all(getattr(row, name) == value for name, value in fields.items())
        ]


@pytest.fixture
async def world(services: Services, ana: Person, ben: Person, request: pytest.FixtureRequest) -> World:
    chance = random.Random(request.node.name)
    archive = Archive(services)
    tags = {}
    for number in range(12):
        chosen = chance.sample(TAGS, k=chance.randrange(3))
        tags[await archive.conversation(ana.id, title=f"title {number}", tags=chosen)] = chosen
    built = World(archive, services, ana, tags, [], chance)
    await built.add(150)
    bens = await archive.conversation(ben.id, title="Ben's", tags=TAGS)
    await archive.messages(ben.id, bens, *["mocha of Ben"] * 20)
    return built


def by_time(row: Message) -> Key:
    return row.created_at, row.id


def by_relevance(row: Message) -> Key:
    return score(min(20, row.content.count("mocha")), len(row.content)), row.created_at, row.id


ORDERS: dict[str, tuple[Callable[[Message], Key], bool]] = {
    "-created_at": (by_time, True),
    "created_at": (by_time, False),
    "-relevance": (by_relevance, True),
}
every_order = pytest.mark.parametrize("sort", ORDERS)


def expected(rows: list[Message], sort: str) -> list[str]:
    key, is_descending = ORDERS[sort]
    return [str(row.id) for row in sorted(rows, key=key, reverse=is_descending)]


def firsts(rows: list[Message], sort: str) -> list[str]:
    """The first of each conversation, in order."""
    key, is_descending = ORDERS[sort]
    best: dict[ObjectId, Message] = {}
    for row in sorted(rows, key=key, reverse=is_descending):
        best.setdefault(row.conversation_id, row)
    return [str(row.id) for row in best.values()]


def ids(items: list[Json]) -> list[str]:
    return [each["message"]["id"] for each in items]


@every_order
@pytest.mark.parametrize("limit", [3, 100])
async def test_pages_follow_each_other_in_order(world: World, as_ana: httpx.AsyncClient, sort: str, limit: int) -> None:
    found = await results(as_ana, q="mocha", sort=sort, limit=limit)

    assert ids(found) == expected(world.matching(), sort)
    assert {each["conversation"]["title"] for each in found} <= {f"title {number}" for number in range(12)}
    if sort == "-relevance":
        assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
    else:
        assert all("score" not in each for each in found)


@every_order
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("limit", [1, 9])
async def test_a_tag_and_filters_narrow_every_order(
    world: World, as_ana: httpx.AsyncClient, sort: str, tag: str, limit: int
) -> None:
    since = START + timedelta(minutes=5)
    found = await results(
        as_ana, q="MOCHA", sort=sort, tag=tag, role="user", created_at__gte=since.isoformat(), limit=limit
    )

    rows = [row for row in world.matching(role="user") if row.created_at >= since]
    assert ids(found) == expected([row for row in rows if tag in world.tags[row.conversation_id]], sort)
    assert found
    assert all(each["conversation"]["tags"] == world.tags[ObjectId(each["conversation"]["id"])] for each in found)


@every_order
@pytest.mark.parametrize("limit", [2, 100])
@pytest.mark.parametrize("tag", [None, "film"])
async def test_a_conversation_comes_once_with_its_first_match_and_its_hits(
    world: World, as_ana: httpx.AsyncClient, sort: str, limit: int, tag: str | None
) -> None:
    wanted = {} if tag is None else {"tag": tag}
    found = await results(as_ana, q="mocha", sort=sort, group="conversation", limit=limit, **wanted)

    rows = [row for row in world.matching() if tag is None or tag in world.tags[row.conversation_id]]
    assert ids(found) == firsts(rows, sort)
    counts = [sum(str(row.conversation_id) == each["conversation"]["id"] for row in rows) for each in found]
    assert [each["hits"] for each in found] == counts


@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
@pytest.mark.parametrize("tag", [None, "film"])
async def test_pages_before_one_another_are_the_pages_after_one_another(
    world: World, as_ana: httpx.AsyncClient, sort: str, tag: str | None
) -> None:
    asked = {"q": "mocha", "sort": sort, "limit": 7} | ({} if tag is None else {"tag": tag})
    there = [await search(as_ana, **asked)]
    while there[-1]["next"]:
        there.append(await search(as_ana, **asked, after=there[-1]["next"]))
    assert there[0]["prev"] is None

    back = [there[-1]]
    while back[-1]["prev"]:
        back.append(await search(as_ana, **asked, before=back[-1]["prev"]))

    whole = [each for page in there for each in page["items"]]
    assert [each for page in back[::-1] for each in page["items"]] == whole
    assert all(page["next"] for page in back[1:])
    again = await search(as_ana, **asked, after=back[1]["next"])
    assert again["items"] == there[-1]["items"]


@every_order
@pytest.mark.parametrize("group", [None, "conversation"])
async def test_what_stays_comes_once_while_others_come_and_go(
    world: World, as_ana: httpx.AsyncClient, sort: str, group: str | None
) -> None:
    asked = {"q": "mocha", "sort": sort, "limit": 4} | ({} if group is None else {"group": group})
    staying = {str(row.id) for row in world.matching()}
    homes = {str(row.conversation_id) for row in world.matching()}
    going = world.chance.sample(list(world.tags), k=3)
    found: list[Json] = []
    after: dict[str, str] = {}
    while True:
        page = await search(as_ana, **asked, **after)
        found += page["items"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
        await world.add(5)
        if going:
            gone = going.pop()
            await world.services.conversations.messages.hide(gone)
            staying -= {str(row.id) for row in world.rows if row.conversation_id == gone}
            homes.discard(str(gone))

    if group is None:
        assert len(ids(found)) == len(set(ids(found)))
        assert staying <= set(ids(found))
    else:
        seen = [each["conversation"]["id"] for each in found]
        assert len(seen) == len(set(seen))
        # A new match may lift a conversation over the cursor, to where the reader has been.
        assert homes - set(seen) <= {str(row.conversation_id) for row in world.matching()[len(staying) :]}


@every_order
@pytest.mark.parametrize("group", [None, "conversation"])
async def test_a_page_that_stops_goes_on_at_its_cursor(
    world: World, as_ana: httpx.AsyncClient, sort: str, group: str | None
) -> None:
    world.services.search.limits = Limits(looked_at=1, seconds=0)  # each page ends behind the first reading
    asked = {"q": "mocha", "sort": sort, "limit": 1, "tag": "film"} | ({} if group is None else {"group": group})
    rows = [row for row in world.matching() if "film" in world.tags[row.conversation_id]]

    if sort == "-relevance":
        newest = sorted(world.matching(), key=by_time, reverse=True)
        assert ids(await results(as_ana, **asked)) == (expected if group is None else firsts)(
            [row for row in newest[:1000] if row in rows], sort
        )
    else:
        assert ids(await results(as_ana, **asked)) == (expected if group is None else firsts)(rows, sort)


def stopping(read: Read) -> Read:
    """The same reader, which gives up behind each third row, found or not."""

    async def stopped(sort: Sort, start: Position | None, size: int) -> Run:
        run = await read(sort, start, size)
        if len(run.rows) < 3:
            return run
        return Run(run.rows[: min(2, size)], is_last=False, stopped_at=Position.of(run.rows[min(2, size - 1)], sort))

    return stopped


@every_order
@pytest.mark.parametrize("group", [None, "conversation"])
async def test_where_reading_stops_the_page_is_partial_and_goes_on_from_there(
    world: World, as_ana: httpx.AsyncClient, sort: str, group: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = world.services.conversations.messages
    matches = messages.matches
    monkeypatch.setattr(messages, "matches", lambda *asked: stopping(matches(*asked)))
    asked = {"q": "mocha", "sort": sort, "limit": 100} | ({} if group is None else {"group": group})
    rows = sorted(world.matching(), key=by_time, reverse=sort != "created_at")
    # Of every three the third was looked at and is not there.
    read = [row for number, row in enumerate(rows) if number % 3 != 2]
    first = await search(as_ana, **asked)

    assert first["partial"] is True
    if sort == "-relevance":
        assert ids(first["items"]) == (expected if group is None else firsts)(read[:2], sort)
        assert first["next"] is None
    elif group is None:
        assert ids(first["items"]) == [str(row.id) for row in read[:2]]
        assert ids(await results(as_ana, **asked)) == [str(row.id) for row in read]
    else:
        # A conversation whose first match was passed over is one that a page before had.
        found = [each["conversation"]["id"] for each in await results(as_ana, **asked)]
        assert found == [id for id in dict.fromkeys(str(row.conversation_id) for row in rows) if id in found]
        assert len(found) == len(set(found))


async def test_a_page_without_items_is_partial_and_goes_on(
    services: Services, as_ana: httpx.AsyncClient, ana: Person
) -> None:
    archive = Archive(services)
    tagged = await archive.conversation(ana.id, tags=["rare"])
    plain = await archive.conversation(ana.id)
    [wanted] = await archive.messages(ana.id, tagged, "mocha")
    await archive.messages(ana.id, plain, *["mocha"] * 230)
    services.search.limits = Limits(looked_at=100)

    page = await search(as_ana, q="mocha", tag="rare", limit=2)

    assert (page["items"], page["partial"]) == ([], True)
    assert page["next"]
    assert ids(await results(as_ana, q="mocha", tag="rare", limit=2)) == [wanted]
    assert "partial" not in await search(as_ana, q="mocha", limit=2)


async def test_only_the_newest_matches_are_ranked_and_that_is_said(world: World, as_ana: httpx.AsyncClient) -> None:
    world.services.search.limits = Limits(ranked=10)
    newest = sorted(world.matching(), key=by_time, reverse=True)[:10]

    found = await results(as_ana, q="mocha", sort="-relevance", limit=3)
    page = await search(as_ana, q="mocha", sort="-relevance", limit=3)
    last = await search(as_ana, q="mocha", sort="-relevance", limit=7, after=page["next"])

    assert ids(found) == expected(newest, "-relevance")
    assert page["partial"] is True
    assert (last["partial"], last["next"]) == (True, None)
    world.services.search.limits = Limits()
    assert "partial" not in await search(as_ana, q="mocha", sort="-relevance", limit=3)


async def test_what_comes_later_pushes_nothing_out_of_the_ranking(world: World, as_ana: httpx.AsyncClient) -> None:
    world.services.search.limits = Limits(ranked=10)
    newest = sorted(world.matching(), key=by_time, reverse=True)[:10]
    page = await search(as_ana, q="mocha", sort="-relevance", limit=4)
    home = next(iter(world.tags))
    await world.archive.messages(world.ana.id, home, *["mocha"] * 15, created_at=START + timedelta(days=1))
    late = await world.archive.messages(
        world.ana.id, home, "no mocha, or next to none", created_at=newest[5].created_at
    )

    rest = await results(as_ana, q="mocha", sort="-relevance", limit=4, after=page["next"])

    stayed = [each for each in ids(rest) if each in {str(row.id) for row in newest}]
    assert ids(page["items"]) + stayed == expected(newest, "-relevance")
    assert set(ids(rest)) <= {*stayed, *late}


async def test_one_page_is_a_few_queries_however_many_results_it_has(
    world: World, as_ana: httpx.AsyncClient, services: Services
) -> None:
    async with profiled(services.database) as profile:
        counts = []
        for limit in (2, 50):
            await search(as_ana, q="mocha", limit=limit, tag="film", group="conversation")
            entries = await profile.read("messages", "conversations")
            counts.append(len(entries))
            assert all("maxTimeMS" in entry["command"] for entry in entries if entry["ns"].endswith("messages"))

    assert counts == [4, 4]
