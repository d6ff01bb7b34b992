"""A small application as many are: a web service enqueues, Huey runs programs in a folder of each job."""
