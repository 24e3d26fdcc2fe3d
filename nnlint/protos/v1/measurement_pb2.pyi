from nnlint.protos.v1 import graph_pb2 as _graph_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MeasurementPlan(_message.Message):
    __slots__ = ("nodes", "parameters")
    NODES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedScalarFieldContainer[int]
    parameters: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, nodes: _Optional[_Iterable[int]] = ..., parameters: _Optional[_Iterable[int]] = ...) -> None: ...

class StepStatistics(_message.Message):
    __slots__ = ("step", "loss", "measured", "activation_rms", "activation_abs_max", "activation_zero_fraction", "gradient_rms", "gradient_abs_max", "parameter_rms", "parameter_gradient_rms", "parameter_gradient_abs_max", "update_ratio", "seconds", "histograms")
    STEP_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_RMS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_ABS_MAX_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_ZERO_FRACTION_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_RMS_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_ABS_MAX_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_RMS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_GRADIENT_RMS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_GRADIENT_ABS_MAX_FIELD_NUMBER: _ClassVar[int]
    UPDATE_RATIO_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAMS_FIELD_NUMBER: _ClassVar[int]
    step: int
    loss: float
    measured: bool
    activation_rms: _containers.RepeatedScalarFieldContainer[float]
    activation_abs_max: _containers.RepeatedScalarFieldContainer[float]
    activation_zero_fraction: _containers.RepeatedScalarFieldContainer[float]
    gradient_rms: _containers.RepeatedScalarFieldContainer[float]
    gradient_abs_max: _containers.RepeatedScalarFieldContainer[float]
    parameter_rms: _containers.RepeatedScalarFieldContainer[float]
    parameter_gradient_rms: _containers.RepeatedScalarFieldContainer[float]
    parameter_gradient_abs_max: _containers.RepeatedScalarFieldContainer[float]
    update_ratio: _containers.RepeatedScalarFieldContainer[float]
    seconds: float
    histograms: Histograms
    def __init__(self, step: _Optional[int] = ..., loss: _Optional[float] = ..., measured: bool = ..., activation_rms: _Optional[_Iterable[float]] = ..., activation_abs_max: _Optional[_Iterable[float]] = ..., activation_zero_fraction: _Optional[_Iterable[float]] = ..., gradient_rms: _Optional[_Iterable[float]] = ..., gradient_abs_max: _Optional[_Iterable[float]] = ..., parameter_rms: _Optional[_Iterable[float]] = ..., parameter_gradient_rms: _Optional[_Iterable[float]] = ..., parameter_gradient_abs_max: _Optional[_Iterable[float]] = ..., update_ratio: _Optional[_Iterable[float]] = ..., seconds: _Optional[float] = ..., histograms: _Optional[_Union[Histograms, _Mapping]] = ...) -> None: ...

class Histograms(_message.Message):
    __slots__ = ("activations", "gradients", "parameters", "parameter_gradients")
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    activations: _containers.RepeatedScalarFieldContainer[int]
    gradients: _containers.RepeatedScalarFieldContainer[int]
    parameters: _containers.RepeatedScalarFieldContainer[int]
    parameter_gradients: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, activations: _Optional[_Iterable[int]] = ..., gradients: _Optional[_Iterable[int]] = ..., parameters: _Optional[_Iterable[int]] = ..., parameter_gradients: _Optional[_Iterable[int]] = ...) -> None: ...

class NonFinite(_message.Message):
    __slots__ = ("step", "phase", "node", "tensor", "nan_count", "infinite_count", "element_count", "operands")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[NonFinite.Phase]
        PHASE_FORWARD: _ClassVar[NonFinite.Phase]
        PHASE_BACKWARD: _ClassVar[NonFinite.Phase]
        PHASE_INPUT: _ClassVar[NonFinite.Phase]
        PHASE_STEP: _ClassVar[NonFinite.Phase]
    PHASE_UNSPECIFIED: NonFinite.Phase
    PHASE_FORWARD: NonFinite.Phase
    PHASE_BACKWARD: NonFinite.Phase
    PHASE_INPUT: NonFinite.Phase
    PHASE_STEP: NonFinite.Phase
    class Operand(_message.Message):
        __slots__ = ("reference", "minimum", "maximum", "non_finite", "result", "dtype")
        REFERENCE_FIELD_NUMBER: _ClassVar[int]
        MINIMUM_FIELD_NUMBER: _ClassVar[int]
        MAXIMUM_FIELD_NUMBER: _ClassVar[int]
        NON_FINITE_FIELD_NUMBER: _ClassVar[int]
        RESULT_FIELD_NUMBER: _ClassVar[int]
        DTYPE_FIELD_NUMBER: _ClassVar[int]
        reference: _graph_pb2.Reference
        minimum: float
        maximum: float
        non_finite: int
        result: bool
        dtype: _graph_pb2.ScalarType
        def __init__(self, reference: _Optional[_Union[_graph_pb2.Reference, _Mapping]] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., non_finite: _Optional[int] = ..., result: bool = ..., dtype: _Optional[_Union[_graph_pb2.ScalarType, str]] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    NAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    INFINITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPERANDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    phase: NonFinite.Phase
    node: int
    tensor: int
    nan_count: int
    infinite_count: int
    element_count: int
    operands: _containers.RepeatedCompositeFieldContainer[NonFinite.Operand]
    def __init__(self, step: _Optional[int] = ..., phase: _Optional[_Union[NonFinite.Phase, str]] = ..., node: _Optional[int] = ..., tensor: _Optional[int] = ..., nan_count: _Optional[int] = ..., infinite_count: _Optional[int] = ..., element_count: _Optional[int] = ..., operands: _Optional[_Iterable[_Union[NonFinite.Operand, _Mapping]]] = ...) -> None: ...

class UnitActivity(_message.Message):
    __slots__ = ("node", "dimension", "units", "samples", "dead", "saturated", "dead_units", "saturated_units", "can_be_dead", "can_saturate")
    NODE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    SATURATED_FIELD_NUMBER: _ClassVar[int]
    DEAD_UNITS_FIELD_NUMBER: _ClassVar[int]
    SATURATED_UNITS_FIELD_NUMBER: _ClassVar[int]
    CAN_BE_DEAD_FIELD_NUMBER: _ClassVar[int]
    CAN_SATURATE_FIELD_NUMBER: _ClassVar[int]
    node: int
    dimension: int
    units: int
    samples: int
    dead: int
    saturated: int
    dead_units: bytes
    saturated_units: bytes
    can_be_dead: bool
    can_saturate: bool
    def __init__(self, node: _Optional[int] = ..., dimension: _Optional[int] = ..., units: _Optional[int] = ..., samples: _Optional[int] = ..., dead: _Optional[int] = ..., saturated: _Optional[int] = ..., dead_units: _Optional[bytes] = ..., saturated_units: _Optional[bytes] = ..., can_be_dead: bool = ..., can_saturate: bool = ...) -> None: ...

class ExperimentResult(_message.Message):
    __slots__ = ("experiment", "initial_loss", "overfit", "lr_range", "isolation", "train_eval", "clip", "input", "seeds")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    INITIAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    OVERFIT_FIELD_NUMBER: _ClassVar[int]
    LR_RANGE_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    TRAIN_EVAL_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    experiment: int
    initial_loss: InitialLossResult
    overfit: OverfitResult
    lr_range: LrRangeResult
    isolation: IsolationResult
    train_eval: TrainEvalResult
    clip: ClipResult
    input: InputResult
    seeds: SeedsResult
    def __init__(self, experiment: _Optional[int] = ..., initial_loss: _Optional[_Union[InitialLossResult, _Mapping]] = ..., overfit: _Optional[_Union[OverfitResult, _Mapping]] = ..., lr_range: _Optional[_Union[LrRangeResult, _Mapping]] = ..., isolation: _Optional[_Union[IsolationResult, _Mapping]] = ..., train_eval: _Optional[_Union[TrainEvalResult, _Mapping]] = ..., clip: _Optional[_Union[ClipResult, _Mapping]] = ..., input: _Optional[_Union[InputResult, _Mapping]] = ..., seeds: _Optional[_Union[SeedsResult, _Mapping]] = ...) -> None: ...

class LabelCounts(_message.Message):
    __slots__ = ("first", "counts")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    first: int
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, first: _Optional[int] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class InitialLossResult(_message.Message):
    __slots__ = ("losses", "labels")
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    losses: _containers.RepeatedScalarFieldContainer[float]
    labels: _containers.RepeatedCompositeFieldContainer[LabelCounts]
    def __init__(self, losses: _Optional[_Iterable[float]] = ..., labels: _Optional[_Iterable[_Union[LabelCounts, _Mapping]]] = ...) -> None: ...

class OverfitResult(_message.Message):
    __slots__ = ("attempts", "samples")
    class Attempt(_message.Message):
        __slots__ = ("learning_rate", "losses", "reached")
        LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
        LOSSES_FIELD_NUMBER: _ClassVar[int]
        REACHED_FIELD_NUMBER: _ClassVar[int]
        learning_rate: float
        losses: _containers.RepeatedScalarFieldContainer[float]
        reached: bool
        def __init__(self, learning_rate: _Optional[float] = ..., losses: _Optional[_Iterable[float]] = ..., reached: bool = ...) -> None: ...
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[OverfitResult.Attempt]
    samples: int
    def __init__(self, attempts: _Optional[_Iterable[_Union[OverfitResult.Attempt, _Mapping]]] = ..., samples: _Optional[int] = ...) -> None: ...

class LrRangeResult(_message.Message):
    __slots__ = ("learning_rates", "losses", "smoothed", "steepest", "valley", "diverged")
    LEARNING_RATES_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    SMOOTHED_FIELD_NUMBER: _ClassVar[int]
    STEEPEST_FIELD_NUMBER: _ClassVar[int]
    VALLEY_FIELD_NUMBER: _ClassVar[int]
    DIVERGED_FIELD_NUMBER: _ClassVar[int]
    learning_rates: _containers.RepeatedScalarFieldContainer[float]
    losses: _containers.RepeatedScalarFieldContainer[float]
    smoothed: _containers.RepeatedScalarFieldContainer[float]
    steepest: float
    valley: float
    diverged: float
    def __init__(self, learning_rates: _Optional[_Iterable[float]] = ..., losses: _Optional[_Iterable[float]] = ..., smoothed: _Optional[_Iterable[float]] = ..., steepest: _Optional[float] = ..., valley: _Optional[float] = ..., diverged: _Optional[float] = ...) -> None: ...

class IsolationResult(_message.Message):
    __slots__ = ("leaks", "compared", "batch_statistics")
    class Leak(_message.Message):
        __slots__ = ("output", "samples", "change", "node")
        OUTPUT_FIELD_NUMBER: _ClassVar[int]
        SAMPLES_FIELD_NUMBER: _ClassVar[int]
        CHANGE_FIELD_NUMBER: _ClassVar[int]
        NODE_FIELD_NUMBER: _ClassVar[int]
        output: int
        samples: int
        change: float
        node: int
        def __init__(self, output: _Optional[int] = ..., samples: _Optional[int] = ..., change: _Optional[float] = ..., node: _Optional[int] = ...) -> None: ...
    LEAKS_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    BATCH_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    leaks: _containers.RepeatedCompositeFieldContainer[IsolationResult.Leak]
    compared: int
    batch_statistics: bool
    def __init__(self, leaks: _Optional[_Iterable[_Union[IsolationResult.Leak, _Mapping]]] = ..., compared: _Optional[int] = ..., batch_statistics: bool = ...) -> None: ...

class TrainEvalResult(_message.Message):
    __slots__ = ("train_losses", "eval_losses")
    TRAIN_LOSSES_FIELD_NUMBER: _ClassVar[int]
    EVAL_LOSSES_FIELD_NUMBER: _ClassVar[int]
    train_losses: _containers.RepeatedScalarFieldContainer[float]
    eval_losses: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, train_losses: _Optional[_Iterable[float]] = ..., eval_losses: _Optional[_Iterable[float]] = ...) -> None: ...

class ClipResult(_message.Message):
    __slots__ = ("losses", "clipped_losses", "norms", "clipped_norms")
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_LOSSES_FIELD_NUMBER: _ClassVar[int]
    NORMS_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_NORMS_FIELD_NUMBER: _ClassVar[int]
    losses: _containers.RepeatedScalarFieldContainer[float]
    clipped_losses: _containers.RepeatedScalarFieldContainer[float]
    norms: _containers.RepeatedScalarFieldContainer[float]
    clipped_norms: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, losses: _Optional[_Iterable[float]] = ..., clipped_losses: _Optional[_Iterable[float]] = ..., norms: _Optional[_Iterable[float]] = ..., clipped_norms: _Optional[_Iterable[float]] = ...) -> None: ...

class InputResult(_message.Message):
    __slots__ = ("tensors",)
    class Statistics(_message.Message):
        __slots__ = ("tensor", "mean", "standard_deviation", "minimum", "maximum", "elements", "nan_count", "infinite_count", "repeated_samples", "labels")
        TENSOR_FIELD_NUMBER: _ClassVar[int]
        MEAN_FIELD_NUMBER: _ClassVar[int]
        STANDARD_DEVIATION_FIELD_NUMBER: _ClassVar[int]
        MINIMUM_FIELD_NUMBER: _ClassVar[int]
        MAXIMUM_FIELD_NUMBER: _ClassVar[int]
        ELEMENTS_FIELD_NUMBER: _ClassVar[int]
        NAN_COUNT_FIELD_NUMBER: _ClassVar[int]
        INFINITE_COUNT_FIELD_NUMBER: _ClassVar[int]
        REPEATED_SAMPLES_FIELD_NUMBER: _ClassVar[int]
        LABELS_FIELD_NUMBER: _ClassVar[int]
        tensor: int
        mean: float
        standard_deviation: float
        minimum: float
        maximum: float
        elements: int
        nan_count: int
        infinite_count: int
        repeated_samples: int
        labels: LabelCounts
        def __init__(self, tensor: _Optional[int] = ..., mean: _Optional[float] = ..., standard_deviation: _Optional[float] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., elements: _Optional[int] = ..., nan_count: _Optional[int] = ..., infinite_count: _Optional[int] = ..., repeated_samples: _Optional[int] = ..., labels: _Optional[_Union[LabelCounts, _Mapping]] = ...) -> None: ...
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[InputResult.Statistics]
    def __init__(self, tensors: _Optional[_Iterable[_Union[InputResult.Statistics, _Mapping]]] = ...) -> None: ...

class SeedsResult(_message.Message):
    __slots__ = ("initialisations",)
    class Initialisation(_message.Message):
        __slots__ = ("loss", "parameter_gradient_rms")
        LOSS_FIELD_NUMBER: _ClassVar[int]
        PARAMETER_GRADIENT_RMS_FIELD_NUMBER: _ClassVar[int]
        loss: float
        parameter_gradient_rms: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, loss: _Optional[float] = ..., parameter_gradient_rms: _Optional[_Iterable[float]] = ...) -> None: ...
    INITIALISATIONS_FIELD_NUMBER: _ClassVar[int]
    initialisations: _containers.RepeatedCompositeFieldContainer[SeedsResult.Initialisation]
    def __init__(self, initialisations: _Optional[_Iterable[_Union[SeedsResult.Initialisation, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("status", "message", "node", "estimated_bytes", "available_bytes", "non_finite", "unit_activities", "steps", "environment", "timings")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Result.Status]
        STATUS_COMPLETED: _ClassVar[Result.Status]
        STATUS_OUT_OF_MEMORY: _ClassVar[Result.Status]
        STATUS_OPERATOR_FAILED: _ClassVar[Result.Status]
        STATUS_WORKER_CRASHED: _ClassVar[Result.Status]
        STATUS_TIMED_OUT: _ClassVar[Result.Status]
        STATUS_CANCELLED: _ClassVar[Result.Status]
    STATUS_UNSPECIFIED: Result.Status
    STATUS_COMPLETED: Result.Status
    STATUS_OUT_OF_MEMORY: Result.Status
    STATUS_OPERATOR_FAILED: Result.Status
    STATUS_WORKER_CRASHED: Result.Status
    STATUS_TIMED_OUT: Result.Status
    STATUS_CANCELLED: Result.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    UNIT_ACTIVITIES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    status: Result.Status
    message: str
    node: int
    estimated_bytes: int
    available_bytes: int
    non_finite: _containers.RepeatedCompositeFieldContainer[NonFinite]
    unit_activities: _containers.RepeatedCompositeFieldContainer[UnitActivity]
    steps: int
    environment: Environment
    timings: Timings
    def __init__(self, status: _Optional[_Union[Result.Status, str]] = ..., message: _Optional[str] = ..., node: _Optional[int] = ..., estimated_bytes: _Optional[int] = ..., available_bytes: _Optional[int] = ..., non_finite: _Optional[_Iterable[_Union[NonFinite, _Mapping]]] = ..., unit_activities: _Optional[_Iterable[_Union[UnitActivity, _Mapping]]] = ..., steps: _Optional[int] = ..., environment: _Optional[_Union[Environment, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class Environment(_message.Message):
    __slots__ = ("device", "device_name", "torch_version", "nnlint_version")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    NNLINT_VERSION_FIELD_NUMBER: _ClassVar[int]
    device: str
    device_name: str
    torch_version: str
    nnlint_version: str
    def __init__(self, device: _Optional[str] = ..., device_name: _Optional[str] = ..., torch_version: _Optional[str] = ..., nnlint_version: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queued", "loading", "checking", "running")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    CHECKING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    queued: float
    loading: float
    checking: float
    running: float
    def __init__(self, queued: _Optional[float] = ..., loading: _Optional[float] = ..., checking: _Optional[float] = ..., running: _Optional[float] = ...) -> None: ...
