"""One reader of decks: what it takes for a line is what the real NWChem takes for one, whatever the deck looks like."""

from __future__ import annotations

import os
import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.engines import get
from qmrunner.engines.nwchem.input import reader
from qmrunner.engines.nwchem.input.deck_rewrite import rewrite
from qmrunner.errors import QmrunnerError, UsageError
from tests.engines import nwchem_echo

# Under CI a missing engine is a failure: the tests then run, and say what is missing.
MISSING = get("nwchem").locate({}, shutil.which).path is None and os.environ.get("CI") != "true"
real = pytest.mark.skipif(MISSING, reason="nwchem is not installed")
# How many decks are compared with NWChem, each of some tens of lines.
DECKS = int(os.environ.get("ECHOED_DECKS", "25"))

# What can stand in a line. `@` becomes `set kN string` with its own number.
# fmt: off
WORDS = [b"a", b'"b c"', b"\xe4", "ü".encode(), "\u00a0".encode(), b"\\#", b"\\;", b"\\\\#", b"\\\\;", b'"x\\"y"',
         b'a"b', b'""', b"\\x", b"x\\", b"\\\\", b"include", b'"c\td"', b"eof", b".", b"*", b"'d", b"\x0b", b"\x85",
         b"\x1c", b"/", b"d,e=f", b"-1", b"\\\\\\;", b'"g\\\\"', b"@"]
BLANKS = [b" ", b" ", b"\t", b"  \t ", b" " * 300, b" \\\n", b"\\\n ", b" \\ \t\n", b" \\\r\n", b" \\\r", b" \\\n\n",
          b" \\\n\\\n"]
ENDS = [b"\n@", b"\n@", b"\n@", b"\r\n@", b"\r@", b" # c\n@", b" # c \\\n@", b";@", b" ; @", b" \\ # c\n@", b";\n@",
        b"; # c\n@", b"\n\n# c\n \t\n@", b"\n# c \\\n\n@", b"\n#\\\n;;x\n@", b" \\\n @", b'"\n@', b";;@", b"\nfoo ",
        b"\neof\n@", b"\n.\n@", b"\n \\\n.\n@", b"\neof \\\n\n@", b"\n\tset\t@", b"\\\\;@", b" #\xff\r@",
        b"\ninclude more.nw\n@", b"\nINCLUDE\tmore.nw \r@", b"\nincludeXmore.nw\n@", b"\n include more.nw\n@"]
# fmt: on


def numbered(deck: bytes) -> bytes:
    numbers = count()
    head, *others = deck.split(b"@")
    return head + b"".join(b"set k%d string " % next(numbers) + other for other in others)


lines = st.tuples(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(BLANKS)), min_size=1, max_size=5), st.sampled_from(ENDS)
)
decks = st.lists(lines, min_size=1, max_size=40).map(
    lambda found: b"@" + b"".join(b"".join(word + blank for word, blank in said) + end for said, end in found) + b"z"
)


def shared(deck: bytes, more: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The deck and the file it may include, with no number twice. A file does not include itself."""
    own, other = numbered(deck + b"\0" + more.replace(b"more.nw", b"no.nw")).split(b"\0")
    return own, {"more.nw": other}


# What the rewrite replaces, so that something else might go with it or come to life.
CHANGED = [b"@", b"scratch_dir x \\ # c\n@", b"permanent_dir /y\n@", b"memory total 99999 gb \\\n", b"# c \\\n\n@",
           b"memory 99999 gb # \\\n\n@", b"scratch_dir x;@", b"memory 99999 gb;@", b"scratch_dir \xe4 \\\r\n y\n@",
           b"memory 99999 gb \\ # c\n@", b"memory 99999 gb; scratch_dir \\#\\; ;@"]  # fmt: skip


@pytest.mark.slow
@real
@pytest.mark.engine
@pytest.mark.timeout(120 + 5 * DECKS)
@settings(max_examples=DECKS, deadline=None)
@given(st.sampled_from(CHANGED), decks, st.sampled_from([b"", b"\n", b"\\", b" \\\n", b" \\\n\n", b"\n.\n"]))
def test_nwchem_reads_of_a_rewritten_deck_what_the_reader_does_of_the_deck(
    first: bytes, deck: bytes, end: bytes
) -> None:
    own = numbered(first + deck.replace(b"more.nw", b"no.nw") + end)
    try:
        rewritten = rewrite(reader.decode(nwchem_echo.HEAD + own), 1, 400)
    except QmrunnerError:  # refused, or its memory line asks for more than is granted
        return
    result = reader.encode(rewritten.text)
    assert result.startswith(nwchem_echo.HEAD) or b"memory total" in result.split(b"\n")[0]
    with tempfile.TemporaryDirectory() as folder:
        found, expected = nwchem_echo.of_nwchem(Path(folder), result, {}, head=b""), nwchem_echo.of_reader(own, {})
    assert found.values == expected.values
    # The text is another where the line was replaced, the number is not.
    assert (found.stopped and found.stopped[0]) == (expected.stopped and expected.stopped[0])


@given(st.binary(max_size=60), st.sampled_from([b"", b"memory total 99999 gb\\\n", b"scratch_dir x \\ # c\n"]), decks)
def test_a_rewrite_keeps_every_byte_and_number_of_the_lines_it_does_not_replace(
    junk: bytes, first: bytes, deck: bytes
) -> None:
    data = first + numbered(deck) + junk
    try:
        result = reader.encode(rewrite(reader.decode(data), 1, 400).text)
    except UsageError:
        return
    before, after = reader.read(data), reader.read(result)
    kept = {(line.first, line.last, data[line.start : line.end].rstrip()) for line in before}
    found = {(line.first, line.last, result[line.start : line.end].rstrip()) for line in after}
    assert (
        len(kept - found)
        <= sum(any(said.directive in ("memory", *reader.FOLDERS) for said in line.statements) for line in before) + 1
    )


@real
@pytest.mark.engine
@pytest.mark.timeout(120 + 5 * DECKS)
@settings(max_examples=DECKS, deadline=None)
@given(decks, decks)
def test_nwchem_reads_every_statement_as_the_reader_does(deck: bytes, more: bytes) -> None:
    own, files = shared(deck, more)
    with tempfile.TemporaryDirectory() as folder:
        assert nwchem_echo.of_nwchem(Path(folder), own, files) == nwchem_echo.of_reader(own, files)
