from django.db import models


class Letter(models.Model):
    number = models.IntegerField(unique=True)
    tries = models.IntegerField(default=0)
    sent = models.BooleanField(default=False)


class Account(models.Model):
    name = models.CharField(max_length=20, unique=True)
    total = models.IntegerField(default=0)
