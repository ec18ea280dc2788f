"""What the scripts share. InputError is the one exception for what a user can put right."""

import sys


class InputError(Exception):
    """Bad input: its text is one line that says what is wrong and what to do. Scripts print it and exit with code 2."""


def check_choice(name, value, choices):
    """Raise InputError unless value is one of the choices."""
    if value not in choices:
        raise InputError(f"unknown {name} {value!r}; one of {', '.join(choices)}")


def count_of(items, noun):
    """How many, in words: "1 photo", "3 photos"."""
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def first_line(error):
    """What an exception says first, or its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def few(names, most=3):
    """The first names as text."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _say_interrupted(kind, error, trace, otherwise=sys.excepthook):
    """Ctrl-C while a script still imports, before cli.run can say it: one line, and Python's own exit code."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        otherwise(kind, error, trace)


sys.excepthook = _say_interrupted
