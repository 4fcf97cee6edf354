"""Text from a store, made fit for a line of a log or a terminal."""


def printable(text: str) -> str:
    """Return the text with everything escaped that is not a visible character or a space.

    A line break in a name would begin a line that looks like another message, an escape would steer a terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )
