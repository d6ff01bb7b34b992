import subprocess

from django.db import transaction
from django.db.models import F
from huey.contrib.djhuey import close_db, db_task

from shop.models import Account, Letter
from shop.queues import QUEUES

books = QUEUES["books"]
WORK = ["sh", "-c", "until [ -e go ]; do sleep 0.1; done"]


@db_task()
def send(number):
    letter, _ = Letter.objects.get_or_create(number=number)
    Letter.objects.filter(pk=letter.pk).update(tries=F("tries") + 1)
    with books.lock_task(f"letter-{number}"):  # a lock of another queue than the task's
        subprocess.check_call(WORK)
    Letter.objects.filter(pk=letter.pk).update(sent=True)
    return number


@books.task()
@close_db
def book(name, amount):
    with books.lock_task(f"account-{name}"):
        account, _ = Account.objects.get_or_create(name=name)
        subprocess.check_call(WORK)
        with transaction.atomic():
            Account.objects.filter(pk=account.pk).update(total=F("total") + amount)
    return name
