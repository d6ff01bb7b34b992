"""Variables of services next to a pod or container are no settings; misspelled settings still are refused."""

from __future__ import annotations

import pytest

from qmrunner.doctor.environment import conflicts
from qmrunner.errors import UsageError
from qmrunner.settings import load

# What Kubernetes 1.36 put into a pod beside the services qmrunner-api, qmrunner and my-qmrunner.
LINKS = {
    "QMRUNNER_API_SERVICE_HOST": "10.0.0.1",
    "QMRUNNER_API_SERVICE_PORT": "8642",
    "QMRUNNER_API_SERVICE_PORT_HTTP": "8642",
    "QMRUNNER_API_PORT": "tcp://10.0.0.1:8642",
    "QMRUNNER_API_PORT_8642_TCP": "tcp://10.0.0.1:8642",
    "QMRUNNER_API_PORT_8642_TCP_PROTO": "tcp",
    "QMRUNNER_API_PORT_8642_TCP_PORT": "8642",
    "QMRUNNER_API_PORT_8642_TCP_ADDR": "10.0.0.1",
    "QMRUNNER_SERVICE_HOST": "10.0.0.2",
    "QMRUNNER_SERVICE_PORT": "8642",
    "QMRUNNER_PORT": "tcp://[fd00::2]:8642",
    "QMRUNNER_PORT_53_UDP_ADDR": "10.0.0.2",
}


def test_the_links_of_services_break_nothing() -> None:
    assert load(LINKS) == load({})
    assert load({**LINKS, "QMRUNNER_SLOTS": "3"}).slots == 3


@pytest.mark.parametrize("name", LINKS)
def test_each_of_them_is_ignored_by_itself_and_listed_by_doctor(name: str) -> None:
    assert load({name: LINKS[name]}) == load({})
    finding = conflicts({name: LINKS[name]}, apps=False)
    assert finding.result == "ok"
    assert name in finding.text


def test_the_setting_of_the_same_name_still_counts() -> None:
    assert load({"QMRUNNER_API_PORT": "9000"}).api_port == 9000
    with pytest.raises(UsageError, match="QMRUNNER_API_PORT: expected"):
        load({"QMRUNNER_API_PORT": "http"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QMRUNNER_API_PROT", "9000"),
        ("QMRUNNER_APY_PORT", "9000"),
        ("QMRUNNER_PORT", "9000"),
        ("QMRUNNER_SERVICE", "tcp://10.0.0.1:8642"),
        ("QMRUNNER_STORE_ULR", "tcp://10.0.0.1:8642"),
        ("QMRUNNER_STORE_URL", "tcp://10.0.0.1:8642"),
    ],
)
def test_a_misspelled_setting_is_still_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        load({name: value})
