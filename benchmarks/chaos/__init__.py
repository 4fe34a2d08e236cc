"""Chaos: many jobs, several workers, and everything around them failing on a seeded schedule; then the audit.

`proxy` is the network between a worker and its project, `model` a model server that misbehaves, `fleet` the workers as
systemd would keep them, `crowd` the users, `trouble` what goes wrong and when, `run` one run of it all, `verdict` what
is counted at the end.
"""
