"""Steps on labels: texts that nothing has encoded yet."""

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, only


def replace(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Put ``value`` in the place of ``marker``; with ``missing``, refuse a label that is missing."""
    shape = only(step, inputs, "labels")
    marker, value = step.params.get("marker"), step.params.get("value")
    if not isinstance(marker, str | float | int) or not isinstance(value, str | float | int):
        raise IntegrityError("step 'replace' names no marker, or no value")
    refused = step.params.get("missing") is True

    def run(x: Array) -> Array:
        found = x.copy()
        for row, label in enumerate(x[:, 0].tolist()):
            if label is None and refused:
                raise InputError([{"field": "input", "message": "the model refuses a missing text"}])
            if label is not None and label == marker:
                found[row, 0] = value
        return found

    return Compiled(shape, run)
