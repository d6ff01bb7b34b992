"""A small Django application with two queues: that of Huey's djhuey, and a second one."""
