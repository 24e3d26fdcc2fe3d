"""Runs the user's file where it can do no harm: in a child process with limits.

The parent (`pool`) imports no torch. A spawner process (`spawner`) imports it once, and forks for
each file a keeper (`keeper`), which forks the worker (`worker`) that runs the user's code. The
worker streams events to the parent; the keeper drains what the user's code prints, keeps the time,
and leaves nothing running.
"""
