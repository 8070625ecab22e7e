"""The lab's errors."""


class LabError(Exception):
    """One line for the user: the fault, and what to do."""
