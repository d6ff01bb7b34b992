SECRET_KEY = "of a test"
INSTALLED_APPS = ["shop.apps.ShopConfig", "huey.contrib.djhuey"]
_OPTIONS = {"timeout": 30, "transaction_mode": "IMMEDIATE"}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db", "OPTIONS": _OPTIONS}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
HUEY = {"huey_class": "huey.SqliteHuey", "name": "mail", "filename": "mail.db", "immediate": False}
