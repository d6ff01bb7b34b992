"""Commands on all jobs of a query: the number first, then the move, and never more than what the query describes."""

from __future__ import annotations

import pytest

from tests.support import Home

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


@pytest.fixture
def three(home: Home) -> list[str]:
    """Three jobs of one group."""
    home.extra["QMRUNNER_XTB"] = "/bin/true"
    (home.path.parent / "w.xyz").write_text(WATER)
    return [home.run("submit", "xtb", "w.xyz", "--group", "g", "--name", f"w {i}").stdout.strip() for i in range(3)]


def states(home: Home, three: list[str]) -> list[str]:
    return [home.job(job)["state"] for job in three]


def test_the_number_is_printed_first_and_nothing_moves_without_consent(home: Home, three: list[str]) -> None:
    shown = home.run("hold", "--where", "group:g", "--dry-run")
    assert (shown.returncode, shown.stdout) == (0, "hold: 3 job(s) (3 queued)\n")
    asked = home.run("hold", "--where", "group:g")
    assert asked.returncode == 2
    assert "not_confirmed" in asked.stderr
    assert states(home, three) == ["queued"] * 3
    done = home.run("hold", "--where", 'group:g name:"w 1"', "--yes")
    assert (done.returncode, done.stdout) == (0, "1 job(s): 1 held\n")
    found = home.json("cancel", "--where", "group:g", "--yes")
    assert (found["moves"], found["states"]) == (3, {"queued": 2, "held": 1})
    assert states(home, three) == ["cancelled"] * 3


def test_status_lists_the_jobs_of_a_query_and_their_number(home: Home, three: list[str]) -> None:
    home.run("cancel", three[0])
    shown = home.run("status", "--where", "group:g state:waiting")
    assert three[1] in shown.stdout
    assert three[0] not in shown.stdout
    assert "2 job(s); in all states: 2 queued, 1 cancelled" in shown.stdout
    found = home.json("status", "--where", "group:g", "--limit", "1")
    assert ([row["id"] for row in found["jobs"]], found["count"]["total"]) == ([three[2]], 3)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["cancel"], "usage"),
        (["cancel", "x", "--where", "group:g"], "usage"),
        (["cancel", "x", "--dry-run"], "usage"),
        (["cancel", "--where", "", "--yes"], "bad_query"),
        (["cancel", "--where", "stat:failed", "--yes"], "bad_query"),
        (["status", "--where", "smiles:C1CC"], "invalid_smiles"),
        (["status", "x", "--where", "group:g"], "usage"),
    ],
)
def test_a_selection_that_is_not_clear_is_refused(home: Home, three: list[str], words: list[str], code: str) -> None:
    ended = home.run(*words)
    assert ended.returncode == 2
    assert f"qmrunner: {code}:" in ended.stderr
    assert states(home, three) == ["queued"] * 3
