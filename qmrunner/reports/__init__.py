"""Read models of the store: the JSON that `status`, `why` and the API print."""
