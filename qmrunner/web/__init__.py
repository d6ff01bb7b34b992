"""The pages: the same facts and actions as the API, for people, in a browser."""
