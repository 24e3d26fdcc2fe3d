"""The part of SARIF 2.1.0 that nnlint writes, restated from the standard as a closed JSON schema.

Property names, types, enumerations and required properties follow sections 3.13 to 3.52 of
https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. No other property may appear.
"""

from __future__ import annotations

from typing import Any


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def many(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
FROM_ONE = {"type": "integer", "minimum": 1}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
BAG = {"type": "object", "properties": {"tags": many(TEXT, uniqueItems=True)}}
MESSAGE = closed("text", text=TEXT, markdown=TEXT)
ARTIFACT = closed(
    uri={"type": "string", "format": "uri-reference"}, uriBaseId=TEXT, description=MESSAGE
)
REGION = closed(startLine=FROM_ONE, startColumn=FROM_ONE, endLine=FROM_ONE, endColumn=FROM_ONE)
LOCATION = closed(
    id=COUNT,
    message=MESSAGE,
    physicalLocation=closed("artifactLocation", artifactLocation=ARTIFACT, region=REGION),
    logicalLocations=many(closed(name=TEXT, fullyQualifiedName=TEXT, kind=TEXT), uniqueItems=True),
)
SUPPRESSION = closed("kind", kind={"enum": ["inSource", "external"]}, justification=TEXT)
RESULT = closed(
    "message",
    ruleId=TEXT,
    ruleIndex=COUNT,
    level=LEVEL,
    message=MESSAGE,
    locations=many(LOCATION),
    relatedLocations=many(LOCATION, uniqueItems=True),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    suppressions=many(SUPPRESSION, uniqueItems=True),
    properties=BAG,
)
RULE = closed(
    "id",
    id=TEXT,
    name=TEXT,
    shortDescription=MESSAGE,
    fullDescription=MESSAGE,
    help=MESSAGE,
    helpUri={"type": "string", "format": "uri"},
    defaultConfiguration=closed(level=LEVEL, enabled={"type": "boolean"}),
    properties=BAG,
)
DRIVER = closed(
    "name",
    name=TEXT,
    version=TEXT,
    semanticVersion=TEXT,
    informationUri=TEXT,
    rules=many(RULE, uniqueItems=True),
)
NOTIFICATION = closed(
    "message", message=MESSAGE, level=LEVEL, locations=many(LOCATION, uniqueItems=True)
)
INVOCATION = closed(
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    toolExecutionNotifications=many(NOTIFICATION),
)
RUN = closed(
    "tool",
    tool=closed("driver", driver=DRIVER),
    invocations=many(INVOCATION),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    originalUriBaseIds={"type": "object", "additionalProperties": ARTIFACT},
    results=many(RESULT),
)
SCHEMA: dict[str, Any] = {
    **closed("version runs", version={"enum": ["2.1.0"]}, runs=many(RUN)),
}
SCHEMA["properties"]["$schema"] = {"type": "string", "format": "uri"}
