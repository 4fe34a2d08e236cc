"""What can go wrong while the embedded stack starts: one class, one clear sentence."""


class DevStackError(Exception):
    """The embedded stack cannot start or do what was asked; the message says why and what to do."""
