"""The .proto files keep to the house rules: they are the contract that clients are written for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nnlint.protos.v1
from nnlint.protos.v1 import graph_pb2, measurement_pb2, probe_service_pb2, worker_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

FOLDER = Path(nnlint.protos.v1.__file__).parent
FILES = [
    module.DESCRIPTOR for module in (graph_pb2, measurement_pb2, probe_service_pb2, worker_pb2)
]
PUBLIC = FILES[:3]
SERVICE = probe_service_pb2.DESCRIPTOR.services_by_name["ProbeService"]


def messages(file: FileDescriptor) -> Iterator[Descriptor]:
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting += message.nested_types


def enums(file: FileDescriptor) -> Iterator[EnumDescriptor]:
    yield from file.enum_types_by_name.values()
    for message in messages(file):
        yield from message.enum_types


def comment_before(text: str, line: str) -> str:
    lines = text.splitlines()
    index = next(i for i, found in enumerate(lines) if found.strip().startswith(line))
    start = index
    while lines[start - 1].strip().startswith("//"):
        start -= 1
    return "\n".join(found.strip() for found in lines[start:index])


def test_every_proto_file_is_generated_and_in_the_package_of_its_folder() -> None:
    assert {f"nnlint/protos/v1/{path.name}" for path in FOLDER.glob("*.proto")} == {
        file.name for file in FILES
    }
    assert {file.package for file in FILES} == {"nnlint.protos.v1"}


@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
def test_every_call_says_its_errors_whether_to_retry_and_whether_it_is_idempotent(
    method: str,
) -> None:
    text = (FOLDER / "probe_service.proto").read_text()
    comment = comment_before(text, f"rpc {method}(")
    for word in ("Errors:", "Retry:", "dempotent"):
        assert word in comment, f"{method} does not say {word!r}"


def test_every_call_has_a_request_and_a_response_of_its_own() -> None:
    for method in SERVICE.methods:
        assert method.input_type.name == f"{method.name}Request"
        assert method.output_type.name == f"{method.name}Response"


def test_every_enum_starts_with_an_unspecified_value_under_its_own_name() -> None:
    for file in FILES:
        for enum in enums(file):
            prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
            assert enum.values[0].name == f"{prefix}_UNSPECIFIED"
            assert enum.values[0].number == 0
            assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


def test_hot_fields_have_numbers_of_one_byte() -> None:
    for file in PUBLIC:
        for message in messages(file):
            assert all(field.number <= 15 for field in message.fields), message.full_name


def test_every_message_of_the_public_contract_says_what_it_is() -> None:
    for file in PUBLIC:
        text = (FOLDER / Path(file.name).name).read_text()
        for message in messages(file):
            if message.name.endswith(("Request", "Response")):
                continue  # the call's comment says it
            assert comment_before(text, f"message {message.name} "), message.full_name
