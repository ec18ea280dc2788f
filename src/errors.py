"""The one exception for what a user can put right."""


class InputError(Exception):
    """Bad input: its text is one line that says what is wrong and what to do. Scripts print it and exit with code 2."""


def check_choice(name, value, choices):
    """Raise InputError unless value is one of the choices."""
    if value not in choices:
        raise InputError(f"unknown {name} {value!r}; one of {', '.join(choices)}")
