"""The arguments of tasks: as text, from what Huey itself sends, without passwords."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from huey import MemoryHuey
from huey.serializer import SignedSerializer

from qmrunner.app import App
from qmrunner.errors import UsageError
from qmrunner.model.jobs import Submission
from qmrunner.reports import arguments
from qmrunner.store import jobs as job_store
from qmrunner.store.advance import accept
from tests.support import Home


def message(*args: Any, serializer: Any = None, **kwargs: Any) -> bytes:
    """What an application sends when it calls a task with these arguments."""
    huey = MemoryHuey(serializer=serializer)

    @huey.task()
    def send(*_: Any, **__: Any) -> None: ...

    send(*args, **kwargs)
    (data,) = huey.storage.enqueued_items()
    return bytes(data)


def task_of(app: App, data: bytes) -> str:
    params = {"task": "app.send", "message": base64.b64encode(data).decode(), "words": {}}
    job_id = job_store.new_id()
    with app.store.write() as connection:
        accept(connection, app.store.now(), job_id, Submission("huey", params, {}), app.planner)
    return job_id


@pytest.fixture
def app(home: Home) -> Any:
    opened = App(home.settings)
    opened.open_store(create=True)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "serializer", [None, SignedSerializer(secret="s"), SignedSerializer(secret="s", compression=True, use_zlib=True)]
)
def test_arguments_are_those_of_the_call_and_passwords_are_masked(app: App, serializer: Any) -> None:
    secret = "x?password=hunter2"
    data = message(7, ["a", None], {"b": (1.5, b"x")}, to="alice@example.org", url=secret, smtp_password="a b'c",
                   auth={"token": "abcdef"}, serializer=serializer)  # fmt: skip
    found = arguments.view(app, task_of(app, data))
    assert found["args"] == ["7", "['a', None]", "{'b': (1.5, b'x')}"]
    assert found["kwargs"]["to"] == "'alice@example.org'"
    assert "hunter2" not in found["kwargs"]["url"]
    assert found["kwargs"]["smtp_password"] == "***"
    assert found["kwargs"]["auth"] == "{'token': '***'}"
    assert (found["task"], found["more"]) == ("app.send", 0)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"id": 1}', b"\x1f\x8bnot gzip", b"\x80\x05N.", b"x" * (1 << 21)])
def test_a_message_of_another_serializer_is_refused(app: App, data: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        arguments.view(app, task_of(app, data))
    assert caught.value.code == "arguments_unreadable"
