"""Enqueues one task of each kind. Prints nothing; `data/ids` has their ids."""

import datetime

import huey as package

from zoo.queue import huey
from zoo.tasks import (
    asks_for_retry,
    backs_off,
    cancels,
    changes_itself,
    counts,
    fails,
    fails_oddly,
    fresh,
    handles,
    hook_cancelled,
    interrupts,
    last,
    leaves_a_child,
    locked,
    locks,
    nested,
    never_succeeds,
    nothing,
    plain,
    second_try,
    too_slow,
    unstorable,
    urgent,
)


def main():
    huey.lock_task("taken").acquire()
    plain("value", 1, "two", three=[3])
    plain("bad_hook")
    nothing("none")
    fails("fails")
    fails_oddly("oddly")
    second_try("second")
    never_succeeds("never")
    backs_off("backoff")
    changes_itself("mutated")
    asks_for_retry("retrytask")
    for retry in (None, True, False):
        cancels(f"cancel-{retry}", retry)
    hook_cancelled("hook")
    too_slow("timeout")
    plain.schedule(("eta", 1), delay=1)
    revoked = plain("revoked")
    huey.revoke_by_id(revoked.id)
    revoked = nothing("revoked-once")
    huey.revoke_by_id(revoked.id, revoke_once=True)
    revoked = nothing("revoked-until")
    huey.revoke_by_id(revoked.id, revoke_until=datetime.datetime(2000, 1, 1))
    fresh("fresh")
    past = fresh.s("expired")
    past.expires = datetime.datetime(2001, 1, 1)
    huey.enqueue(past)
    huey.enqueue(plain.s("pipe-1", 1).then(plain, "pipe-2").then(plain, "pipe-3"))
    huey.enqueue(plain.s("broken-1").then(fails, "broken-2").then(plain, "broken-3"))
    huey.enqueue(fails.s("on_error").error(handles, "handler"))
    huey.enqueue(never_succeeds.s("on_error-retried").error(handles, "late-handler"))
    locked("locked")
    locks("lock")
    nested("nested")
    leaves_a_child("child")
    unstorable("unstorable")
    interrupts("interrupt")
    chord = getattr(package, "chord", None)  # an older Huey has none
    if chord is not None:
        huey.enqueue(chord([plain.s(f"member-{n}", n) for n in range(3)], counts.s("chord")))
        huey.enqueue(chord([plain.s("good-member"), fails.s("bad-member")], counts.s("half")))
        huey.enqueue(chord([plain.s("a"), never_succeeds.s("b")], counts.s("late")).then(plain, "after-late"))
        huey.enqueue(chord([], counts.s("empty")))
        huey.enqueue(package.group([nothing.s("group-1"), nothing.s("group-2")]))
    for number in range(3):
        plain(f"low-{number}")
    for number in range(3):
        try:
            urgent(f"high-{number}")
        except NotImplementedError:
            break  # this storage has no priorities
    last.schedule(("last",), delay=6)


main()
