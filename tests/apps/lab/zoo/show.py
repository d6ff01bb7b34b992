"""Prints, as JSON, what happened to every case and what is left."""

import json
import re

from huey.api import Error

from zoo.queue import huey

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def shown(value):
    if isinstance(value, Error):
        return ["Error", value.metadata["error"], value.metadata["retries"]]
    return repr(value) if "object at" not in repr(value) else "an object"


def main():
    cases, bodies = {}, []
    with open("data/zoo.jsonl") as file:
        lines = [json.loads(line) for line in file]
    for case, what, detail, _ in lines:
        if case.startswith("last"):
            continue
        cases.setdefault(case, []).append([what, detail])
        if what == "body":
            bodies.append(case)
    ids = {}
    with open("data/ids") as file:
        for line in file:
            case, _, task_id = line.rstrip().rpartition(" ")
            ids.setdefault(case, {})[task_id] = None
    results = {
        case: [
            shown(huey.serializer.deserialize(huey.storage.peek_data(one)))
            for one in known
            if huey.storage.has_data_for_key(one)
        ]
        for case, known in ids.items()
        if not case.startswith("last")
    }
    known = {one for some in ids.values() for one in some}
    kept = [key.decode() if isinstance(key, bytes) else key for key in huey.storage.result_items()]
    keys = sorted(ID.sub("ID", key).replace(huey.name, "NAME", 1) for key in kept if key not in known)
    left = [len(huey), huey.scheduled_count()]
    print(json.dumps({"cases": cases, "bodies": bodies, "results": results, "left": left, "keys": keys}))


main()
