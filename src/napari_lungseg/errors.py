"""The one error that a person is meant to read."""


class InputError(ValueError):
    """Something given by a person cannot be used.

    The message is one sentence that says what is wrong, in which file or layer, and what to do. The
    terminal prints it and exits with 2; the window shows it as a notification.
    """
