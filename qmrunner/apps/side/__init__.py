"""The side that runs in an application's interpreter: standard library and the application's own Huey only."""
