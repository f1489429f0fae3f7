"""Suites and sweeps as jobs of a Ray cluster: checked here, sent with what they need, followed to their end.

The cluster is spoken to through the job server on its dashboard (HTTP), as `ray job` does; nothing here imports Ray.
"""
