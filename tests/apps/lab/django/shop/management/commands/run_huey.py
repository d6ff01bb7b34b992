from huey.contrib import djhuey
from huey.contrib.djhuey.management.commands import run_huey

from shop.queues import QUEUES


class Command(run_huey.Command):
    """`manage.py run_huey --queue NAME`, as projects with several queues have it."""

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--queue", choices=sorted(QUEUES), default="mail")

    def handle(self, *args, **options):
        djhuey.HUEY = QUEUES[options.pop("queue")]
        super().handle(*args, **options)
