"""Names of Huey applications."""

from __future__ import annotations

import pytest

from qmrunner.model.app_names import name_of


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("huey_consumer qm_nmr_calc.queue.huey -w 1 -k process", "qm_nmr_calc.queue.huey"),
        ("python -m huey.bin.huey_consumer mod.huey", "mod.huey"),
        ("/app/bin/huey_consumer.py Mod.Huey", "mod.huey"),
        ("python manage.py run_huey", "manage-run_huey"),
        ("python manage.py run_huey -w 2 --worker-type greenlet", "manage-run_huey"),
        ("python manage.py djangohuey --queue first", "djangohuey-first"),
        ("python -m django run_huey --settings shop.settings -w 4", "django-run_huey"),
        ("/app/bin/python -W ignore manage.py run_huey -f", "manage-run_huey"),
        ("huey_consumer -w 4 mod.huey", "mod.huey"),
        ("./own", "own"),
        ("python -u scripts/run_consumer.py", "python-run_consumer"),
    ],
)
def test_an_application_is_called_after_its_huey_instance_or_its_program(command: str, name: str) -> None:
    assert name_of(command.split()) == name
