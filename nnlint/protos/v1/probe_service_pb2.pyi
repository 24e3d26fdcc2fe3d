from nnlint.protos.v1 import graph_pb2 as _graph_pb2
from nnlint.protos.v1 import measurement_pb2 as _measurement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCapabilitiesResponse(_message.Message):
    __slots__ = ("oldest_format_version", "newest_format_version", "nnlint_version", "torch_version", "devices", "operators", "limits")
    OLDEST_FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    NNLINT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    oldest_format_version: int
    newest_format_version: int
    nnlint_version: str
    torch_version: str
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    operators: _containers.RepeatedScalarFieldContainer[str]
    limits: Limits
    def __init__(self, oldest_format_version: _Optional[int] = ..., newest_format_version: _Optional[int] = ..., nnlint_version: _Optional[str] = ..., torch_version: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., operators: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("kind", "name", "memory_bytes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    memory_bytes: int
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("message_bytes", "blob_bytes", "graph_bytes", "nodes", "elements", "steps", "samples", "seconds", "digests_per_call", "keep_alive_seconds")
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOB_BYTES_FIELD_NUMBER: _ClassVar[int]
    GRAPH_BYTES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_PER_CALL_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    message_bytes: int
    blob_bytes: int
    graph_bytes: int
    nodes: int
    elements: int
    steps: int
    samples: int
    seconds: float
    digests_per_call: int
    keep_alive_seconds: float
    def __init__(self, message_bytes: _Optional[int] = ..., blob_bytes: _Optional[int] = ..., graph_bytes: _Optional[int] = ..., nodes: _Optional[int] = ..., elements: _Optional[int] = ..., steps: _Optional[int] = ..., samples: _Optional[int] = ..., seconds: _Optional[float] = ..., digests_per_call: _Optional[int] = ..., keep_alive_seconds: _Optional[float] = ...) -> None: ...

class FindMissingBlobsRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: _containers.RepeatedCompositeFieldContainer[_graph_pb2.Digest]
    def __init__(self, digests: _Optional[_Iterable[_Union[_graph_pb2.Digest, _Mapping]]] = ...) -> None: ...

class FindMissingBlobsResponse(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedCompositeFieldContainer[_graph_pb2.Digest]
    def __init__(self, missing: _Optional[_Iterable[_Union[_graph_pb2.Digest, _Mapping]]] = ...) -> None: ...

class UploadBlobsRequest(_message.Message):
    __slots__ = ("parts",)
    class Part(_message.Message):
        __slots__ = ("digest", "data", "last")
        DIGEST_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        LAST_FIELD_NUMBER: _ClassVar[int]
        digest: _graph_pb2.Digest
        data: bytes
        last: bool
        def __init__(self, digest: _Optional[_Union[_graph_pb2.Digest, _Mapping]] = ..., data: _Optional[bytes] = ..., last: bool = ...) -> None: ...
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[UploadBlobsRequest.Part]
    def __init__(self, parts: _Optional[_Iterable[_Union[UploadBlobsRequest.Part, _Mapping]]] = ...) -> None: ...

class UploadBlobsResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: int
    def __init__(self, stored: _Optional[int] = ...) -> None: ...

class RunProbeRequest(_message.Message):
    __slots__ = ("probe_id", "graph", "settings", "keep_alive_seconds")
    PROBE_ID_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    probe_id: bytes
    graph: _graph_pb2.Digest
    settings: ProbeSettings
    keep_alive_seconds: float
    def __init__(self, probe_id: _Optional[bytes] = ..., graph: _Optional[_Union[_graph_pb2.Digest, _Mapping]] = ..., settings: _Optional[_Union[ProbeSettings, _Mapping]] = ..., keep_alive_seconds: _Optional[float] = ...) -> None: ...

class ProbeSettings(_message.Message):
    __slots__ = ("device", "precision", "seed", "seconds", "deterministic", "experiments")
    class DeviceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DEVICE_KIND_UNSPECIFIED: _ClassVar[ProbeSettings.DeviceKind]
        DEVICE_KIND_CPU: _ClassVar[ProbeSettings.DeviceKind]
        DEVICE_KIND_CUDA: _ClassVar[ProbeSettings.DeviceKind]
    DEVICE_KIND_UNSPECIFIED: ProbeSettings.DeviceKind
    DEVICE_KIND_CPU: ProbeSettings.DeviceKind
    DEVICE_KIND_CUDA: ProbeSettings.DeviceKind
    class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PRECISION_UNSPECIFIED: _ClassVar[ProbeSettings.Precision]
        PRECISION_FLOAT32: _ClassVar[ProbeSettings.Precision]
        PRECISION_BFLOAT16: _ClassVar[ProbeSettings.Precision]
        PRECISION_AUTOCAST_BFLOAT16: _ClassVar[ProbeSettings.Precision]
        PRECISION_AUTOCAST_FLOAT16: _ClassVar[ProbeSettings.Precision]
    PRECISION_UNSPECIFIED: ProbeSettings.Precision
    PRECISION_FLOAT32: ProbeSettings.Precision
    PRECISION_BFLOAT16: ProbeSettings.Precision
    PRECISION_AUTOCAST_BFLOAT16: ProbeSettings.Precision
    PRECISION_AUTOCAST_FLOAT16: ProbeSettings.Precision
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    device: ProbeSettings.DeviceKind
    precision: ProbeSettings.Precision
    seed: int
    seconds: float
    deterministic: bool
    experiments: _containers.RepeatedCompositeFieldContainer[Experiment]
    def __init__(self, device: _Optional[_Union[ProbeSettings.DeviceKind, str]] = ..., precision: _Optional[_Union[ProbeSettings.Precision, str]] = ..., seed: _Optional[int] = ..., seconds: _Optional[float] = ..., deterministic: bool = ..., experiments: _Optional[_Iterable[_Union[Experiment, _Mapping]]] = ...) -> None: ...

class Experiment(_message.Message):
    __slots__ = ("gradients", "initial_loss", "overfit", "lr_range", "isolation", "train_eval", "clip", "input", "seeds")
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    OVERFIT_FIELD_NUMBER: _ClassVar[int]
    LR_RANGE_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    TRAIN_EVAL_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    gradients: GradientsExperiment
    initial_loss: InitialLossExperiment
    overfit: OverfitExperiment
    lr_range: LrRangeExperiment
    isolation: IsolationExperiment
    train_eval: TrainEvalExperiment
    clip: ClipExperiment
    input: InputExperiment
    seeds: SeedsExperiment
    def __init__(self, gradients: _Optional[_Union[GradientsExperiment, _Mapping]] = ..., initial_loss: _Optional[_Union[InitialLossExperiment, _Mapping]] = ..., overfit: _Optional[_Union[OverfitExperiment, _Mapping]] = ..., lr_range: _Optional[_Union[LrRangeExperiment, _Mapping]] = ..., isolation: _Optional[_Union[IsolationExperiment, _Mapping]] = ..., train_eval: _Optional[_Union[TrainEvalExperiment, _Mapping]] = ..., clip: _Optional[_Union[ClipExperiment, _Mapping]] = ..., input: _Optional[_Union[InputExperiment, _Mapping]] = ..., seeds: _Optional[_Union[SeedsExperiment, _Mapping]] = ...) -> None: ...

class GradientsExperiment(_message.Message):
    __slots__ = ("steps", "samples", "optimizer", "histograms")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAMS_FIELD_NUMBER: _ClassVar[int]
    steps: int
    samples: int
    optimizer: Optimizer
    histograms: bool
    def __init__(self, steps: _Optional[int] = ..., samples: _Optional[int] = ..., optimizer: _Optional[_Union[Optimizer, _Mapping]] = ..., histograms: bool = ...) -> None: ...

class InitialLossExperiment(_message.Message):
    __slots__ = ("batches",)
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    batches: int
    def __init__(self, batches: _Optional[int] = ...) -> None: ...

class OverfitExperiment(_message.Message):
    __slots__ = ("batches", "steps", "floor", "share", "optimizers")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZERS_FIELD_NUMBER: _ClassVar[int]
    batches: int
    steps: int
    floor: float
    share: float
    optimizers: _containers.RepeatedCompositeFieldContainer[Optimizer]
    def __init__(self, batches: _Optional[int] = ..., steps: _Optional[int] = ..., floor: _Optional[float] = ..., share: _Optional[float] = ..., optimizers: _Optional[_Iterable[_Union[Optimizer, _Mapping]]] = ...) -> None: ...

class LrRangeExperiment(_message.Message):
    __slots__ = ("start", "end", "steps", "linear", "smoothing", "divergence", "optimizer")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LINEAR_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    DIVERGENCE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    start: float
    end: float
    steps: int
    linear: bool
    smoothing: float
    divergence: float
    optimizer: Optimizer
    def __init__(self, start: _Optional[float] = ..., end: _Optional[float] = ..., steps: _Optional[int] = ..., linear: bool = ..., smoothing: _Optional[float] = ..., divergence: _Optional[float] = ..., optimizer: _Optional[_Union[Optimizer, _Mapping]] = ...) -> None: ...

class IsolationExperiment(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TrainEvalExperiment(_message.Message):
    __slots__ = ("graph", "tensors", "passes")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Digest
    tensors: _containers.RepeatedScalarFieldContainer[int]
    passes: int
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Digest, _Mapping]] = ..., tensors: _Optional[_Iterable[int]] = ..., passes: _Optional[int] = ...) -> None: ...

class ClipExperiment(_message.Message):
    __slots__ = ("steps", "max_norm", "optimizer")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_NORM_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    steps: int
    max_norm: float
    optimizer: Optimizer
    def __init__(self, steps: _Optional[int] = ..., max_norm: _Optional[float] = ..., optimizer: _Optional[_Union[Optimizer, _Mapping]] = ...) -> None: ...

class InputExperiment(_message.Message):
    __slots__ = ("batches",)
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    batches: int
    def __init__(self, batches: _Optional[int] = ...) -> None: ...

class SeedsExperiment(_message.Message):
    __slots__ = ("seeds", "shuffled")
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    SHUFFLED_FIELD_NUMBER: _ClassVar[int]
    seeds: int
    shuffled: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, seeds: _Optional[int] = ..., shuffled: _Optional[_Iterable[int]] = ...) -> None: ...

class Optimizer(_message.Message):
    __slots__ = ("learning_rate", "weight_decay", "sgd", "adamw")
    class Sgd(_message.Message):
        __slots__ = ("momentum", "nesterov")
        MOMENTUM_FIELD_NUMBER: _ClassVar[int]
        NESTEROV_FIELD_NUMBER: _ClassVar[int]
        momentum: float
        nesterov: bool
        def __init__(self, momentum: _Optional[float] = ..., nesterov: bool = ...) -> None: ...
    class AdamW(_message.Message):
        __slots__ = ("beta1", "beta2", "epsilon")
        BETA1_FIELD_NUMBER: _ClassVar[int]
        BETA2_FIELD_NUMBER: _ClassVar[int]
        EPSILON_FIELD_NUMBER: _ClassVar[int]
        beta1: float
        beta2: float
        epsilon: float
        def __init__(self, beta1: _Optional[float] = ..., beta2: _Optional[float] = ..., epsilon: _Optional[float] = ...) -> None: ...
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    SGD_FIELD_NUMBER: _ClassVar[int]
    ADAMW_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    weight_decay: float
    sgd: Optimizer.Sgd
    adamw: Optimizer.AdamW
    def __init__(self, learning_rate: _Optional[float] = ..., weight_decay: _Optional[float] = ..., sgd: _Optional[_Union[Optimizer.Sgd, _Mapping]] = ..., adamw: _Optional[_Union[Optimizer.AdamW, _Mapping]] = ...) -> None: ...

class RunProbeResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: ProbeEvent
    def __init__(self, event: _Optional[_Union[ProbeEvent, _Mapping]] = ...) -> None: ...

class ProbeEvent(_message.Message):
    __slots__ = ("sequence", "stage", "plan", "step", "result", "progress", "experiment")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    stage: Stage
    plan: _measurement_pb2.MeasurementPlan
    step: _measurement_pb2.StepStatistics
    result: _measurement_pb2.Result
    progress: Progress
    experiment: _measurement_pb2.ExperimentResult
    def __init__(self, sequence: _Optional[int] = ..., stage: _Optional[_Union[Stage, _Mapping]] = ..., plan: _Optional[_Union[_measurement_pb2.MeasurementPlan, _Mapping]] = ..., step: _Optional[_Union[_measurement_pb2.StepStatistics, _Mapping]] = ..., result: _Optional[_Union[_measurement_pb2.Result, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., experiment: _Optional[_Union[_measurement_pb2.ExperimentResult, _Mapping]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("kind", "position", "experiment")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Stage.Kind]
        KIND_QUEUED: _ClassVar[Stage.Kind]
        KIND_LOADING: _ClassVar[Stage.Kind]
        KIND_CHECKING: _ClassVar[Stage.Kind]
        KIND_RUNNING: _ClassVar[Stage.Kind]
        KIND_LOCALISING: _ClassVar[Stage.Kind]
        KIND_SAMPLING: _ClassVar[Stage.Kind]
    KIND_UNSPECIFIED: Stage.Kind
    KIND_QUEUED: Stage.Kind
    KIND_LOADING: Stage.Kind
    KIND_CHECKING: Stage.Kind
    KIND_RUNNING: Stage.Kind
    KIND_LOCALISING: Stage.Kind
    KIND_SAMPLING: Stage.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    kind: Stage.Kind
    position: int
    experiment: int
    def __init__(self, kind: _Optional[_Union[Stage.Kind, str]] = ..., position: _Optional[int] = ..., experiment: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("experiment", "step", "steps", "loss", "learning_rate")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    experiment: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    def __init__(self, experiment: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., loss: _Optional[float] = ..., learning_rate: _Optional[float] = ...) -> None: ...

class AttachProbeRequest(_message.Message):
    __slots__ = ("probe_id", "from_sequence")
    PROBE_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    probe_id: bytes
    from_sequence: int
    def __init__(self, probe_id: _Optional[bytes] = ..., from_sequence: _Optional[int] = ...) -> None: ...

class AttachProbeResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: ProbeEvent
    def __init__(self, event: _Optional[_Union[ProbeEvent, _Mapping]] = ...) -> None: ...

class CancelProbeRequest(_message.Message):
    __slots__ = ("probe_id",)
    PROBE_ID_FIELD_NUMBER: _ClassVar[int]
    probe_id: bytes
    def __init__(self, probe_id: _Optional[bytes] = ...) -> None: ...

class CancelProbeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
