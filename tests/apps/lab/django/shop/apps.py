from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        with open("imported", "a") as file:  # opened by each process that sets Django up
            file.write("ready\n")
