"""Blocks: every term is found in the one block that may hold it, and nothing else is."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.search.blocks import BLOCK_BITS, Block, BlockWriter, Terms
from app.search.postings import sizes
from tests.search.segments import lists_of, rows_of

ROWS = 300
Index = dict[bytes, list[int]]
indexes = st.dictionaries(
    st.binary(min_size=1, max_size=14),
    st.sets(st.integers(0, ROWS - 1), min_size=1, max_size=9).map(sorted),
    min_size=1,
    max_size=40,
)


def written(index: Index, rows: int) -> tuple[BlockWriter, list[Block]]:
    writer = BlockWriter(rows)
    terms = sorted(index)
    return writer, list(writer.write(terms, lists_of([index[term] for term in terms])))


@given(indexes, st.binary(max_size=14))
def test_a_block_has_its_terms_and_no_others(index: Index, other: bytes) -> None:
    terms = sorted(index)
    block = Block.pack(terms, lists_of([index[term] for term in terms]), ROWS)

    assert block.terms.to_list() == terms
    assert len(block.terms) == len(terms)
    assert rows_of(block.unpack(ROWS)) == [index[term] for term in terms]
    for term in (*terms, other):
        found = block.find(term, ROWS)
        assert (None if found is None else found.tolist()) == index.get(term)


@given(st.lists(st.binary(max_size=14), unique=True).map(sorted))
def test_terms_are_numbered_in_their_order(names: list[bytes]) -> None:
    terms = Terms.of(names)

    assert [terms.find(name) for name in names] == list(range(len(names)))


def test_many_terms_become_many_blocks_that_the_directory_knows() -> None:
    rows = 20_000
    index: Index = {f"{number:05}".encode(): list(range(number % 300 + 1)) for number in range(900)}
    index[b"00500x"] = list(range(0, rows, 2))  # longer than a block
    writer, blocks = written(index, rows)
    directory = writer.directory

    assert len(blocks) == len(directory) > 5
    assert [block.terms.to_list()[0] for block in blocks] == directory.first_terms == sorted(directory.first_terms)
    for block, size in zip(blocks, directory.sizes, strict=True):
        lists = block.unpack(rows)
        assert size == sizes(lists.counts, rows).sum()
        assert size <= BLOCK_BITS or len(lists.counts) == 1
    assert all(first + second > BLOCK_BITS / 2 for first, second in pairwise(directory.sizes[:-1]))
    for term, expected in index.items():
        number = directory.block_of(term)
        assert number is not None
        found = blocks[number].find(term, rows)
        assert found is not None
        assert found.tolist() == expected
    assert directory.block_of(b"0") is None
    assert directory.block_of(b"zzz") == len(blocks) - 1
