"""What a store's URL may not look like: half of one would quietly be a folder of that name."""

import re
from typing import Final

_HALF: Final = re.compile(r"([A-Za-z][A-Za-z0-9+]+):(?:/(?!/)|(?<=s3:)(?!//))", re.ASCII)


def mended(store: str) -> str | None:
    """Return the URL that was meant by ``s3:/acme/models`` or ``s3:acme/models``; None if it is none such.

    >>> mended("s3:/acme/models")
    's3://acme/models'
    >>> mended("./models") is mended("s3://acme/models") is None
    True
    """
    found = _HALF.match(store)
    if found is None:
        return None
    slashes = ":///" if found[1].lower() == "file" else "://"
    return f"{found[1].lower()}{slashes}{store[found.end() :].lstrip('/')}"
