"""Bodies of requests, checked by pydantic: what is wrong is told field by field, in the envelope's `fields`."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from hub.codec import FAULTS, check_user, check_value
from hub.errors import Code, Refused


class Part(BaseModel):
    """A body or a part of one: unknown fields are refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Model = TypeVar("_Model", bound=BaseModel)


def read_body(model: type[_Model], value: object, inside: int = 0) -> _Model:
    """A decoded JSON value as `model`. `inside`: how many levels of lists and maps will be around it when it is shown.

    Raises `Refused` invalid_request with one entry in `fields` per fault, of many the first.
    """
    check_value(value, "body", inside)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise refused(
            [fault(wrong["loc"], _words(wrong), wrong["type"]) for wrong in error.errors()[:FAULTS]]
        ) from None


def fault(where: Sequence[int | str], message: str, reason: str) -> dict[str, str]:
    """One entry of `fields`."""
    return {"field": ".".join(map(str, where))[:256] or "body", "message": message, "reason": reason}


def refused(faults: list[dict[str, str]]) -> Refused:
    first = faults[0]
    return Refused(Code.INVALID_REQUEST, f"{first['field']}: {first['message']}", fields=faults)


def _external_id(name: str) -> str:
    try:
        return check_user(name)
    except Refused as error:
        wrong = error.details["fields"][0]
        # As an argument: braces of the message itself would be taken for a template.
        raise PydanticCustomError(wrong["reason"], "{wrong}", {"wrong": wrong["message"]}) from None


ExternalId = Annotated[str, AfterValidator(_external_id)]
"""A user's name, as the project's own back end knows the user."""

TopicName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A topic: free text without control characters."""


def _words(wrong: ErrorDetails) -> str:
    """pydantic's own, but with the length it found where it tells only the limit."""
    context: dict[str, Any] = wrong.get("ctx", {})
    match wrong["type"]:
        case "string_too_long":
            return f"{len(wrong['input'])} characters, at most {context['max_length']}"
        case "string_too_short":
            return f"{len(wrong['input'])} characters, at least {context['min_length']}"
    return wrong["msg"]
