from nnlint.protos.v1 import graph_pb2 as _graph_pb2
from nnlint.protos.v1 import measurement_pb2 as _measurement_pb2
from nnlint.protos.v1 import probe_service_pb2 as _probe_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerJob(_message.Message):
    __slots__ = ("request", "blob_folder", "limits", "device", "threads", "seconds")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    BLOB_FOLDER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    request: _probe_service_pb2.RunProbeRequest
    blob_folder: str
    limits: _probe_service_pb2.Limits
    device: str
    threads: int
    seconds: float
    def __init__(self, request: _Optional[_Union[_probe_service_pb2.RunProbeRequest, _Mapping]] = ..., blob_folder: _Optional[str] = ..., limits: _Optional[_Union[_probe_service_pb2.Limits, _Mapping]] = ..., device: _Optional[str] = ..., threads: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class WorkerEvent(_message.Message):
    __slots__ = ("stage", "plan", "step", "result", "refusal", "exit", "ready", "damage", "progress", "experiment")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    stage: _probe_service_pb2.Stage
    plan: _measurement_pb2.MeasurementPlan
    step: _measurement_pb2.StepStatistics
    result: _measurement_pb2.Result
    refusal: Refusal
    exit: Exit
    ready: Ready
    damage: Damage
    progress: _probe_service_pb2.Progress
    experiment: _measurement_pb2.ExperimentResult
    def __init__(self, stage: _Optional[_Union[_probe_service_pb2.Stage, _Mapping]] = ..., plan: _Optional[_Union[_measurement_pb2.MeasurementPlan, _Mapping]] = ..., step: _Optional[_Union[_measurement_pb2.StepStatistics, _Mapping]] = ..., result: _Optional[_Union[_measurement_pb2.Result, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., exit: _Optional[_Union[Exit, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., damage: _Optional[_Union[Damage, _Mapping]] = ..., progress: _Optional[_Union[_probe_service_pb2.Progress, _Mapping]] = ..., experiment: _Optional[_Union[_measurement_pb2.ExperimentResult, _Mapping]] = ...) -> None: ...

class Damage(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: _graph_pb2.Digest
    def __init__(self, digest: _Optional[_Union[_graph_pb2.Digest, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("torch_version", "devices")
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    torch_version: str
    devices: _containers.RepeatedCompositeFieldContainer[_probe_service_pb2.Device]
    def __init__(self, torch_version: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[_probe_service_pb2.Device, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("violations",)
    class Violation(_message.Message):
        __slots__ = ("field", "description")
        FIELD_FIELD_NUMBER: _ClassVar[int]
        DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
        field: str
        description: str
        def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    violations: _containers.RepeatedCompositeFieldContainer[Refusal.Violation]
    def __init__(self, violations: _Optional[_Iterable[_Union[Refusal.Violation, _Mapping]]] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("code", "node", "timed_out", "output", "out_of_memory")
    CODE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_MEMORY_FIELD_NUMBER: _ClassVar[int]
    code: int
    node: int
    timed_out: bool
    output: str
    out_of_memory: bool
    def __init__(self, code: _Optional[int] = ..., node: _Optional[int] = ..., timed_out: bool = ..., output: _Optional[str] = ..., out_of_memory: bool = ...) -> None: ...
