"""What the lab says when it cannot go on."""


class LabError(Exception):
    """One line for the user: what is wrong and what to do."""
