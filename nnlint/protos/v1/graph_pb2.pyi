from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScalarType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCALAR_TYPE_UNSPECIFIED: _ClassVar[ScalarType]
    SCALAR_TYPE_FLOAT32: _ClassVar[ScalarType]
    SCALAR_TYPE_FLOAT64: _ClassVar[ScalarType]
    SCALAR_TYPE_FLOAT16: _ClassVar[ScalarType]
    SCALAR_TYPE_BFLOAT16: _ClassVar[ScalarType]
    SCALAR_TYPE_INT64: _ClassVar[ScalarType]
    SCALAR_TYPE_INT32: _ClassVar[ScalarType]
    SCALAR_TYPE_INT16: _ClassVar[ScalarType]
    SCALAR_TYPE_INT8: _ClassVar[ScalarType]
    SCALAR_TYPE_UINT8: _ClassVar[ScalarType]
    SCALAR_TYPE_BOOL: _ClassVar[ScalarType]
    SCALAR_TYPE_COMPLEX64: _ClassVar[ScalarType]

class MemoryFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMORY_FORMAT_UNSPECIFIED: _ClassVar[MemoryFormat]
    MEMORY_FORMAT_CONTIGUOUS: _ClassVar[MemoryFormat]
    MEMORY_FORMAT_PRESERVE: _ClassVar[MemoryFormat]
    MEMORY_FORMAT_CHANNELS_LAST: _ClassVar[MemoryFormat]
    MEMORY_FORMAT_CHANNELS_LAST_3D: _ClassVar[MemoryFormat]
SCALAR_TYPE_UNSPECIFIED: ScalarType
SCALAR_TYPE_FLOAT32: ScalarType
SCALAR_TYPE_FLOAT64: ScalarType
SCALAR_TYPE_FLOAT16: ScalarType
SCALAR_TYPE_BFLOAT16: ScalarType
SCALAR_TYPE_INT64: ScalarType
SCALAR_TYPE_INT32: ScalarType
SCALAR_TYPE_INT16: ScalarType
SCALAR_TYPE_INT8: ScalarType
SCALAR_TYPE_UINT8: ScalarType
SCALAR_TYPE_BOOL: ScalarType
SCALAR_TYPE_COMPLEX64: ScalarType
MEMORY_FORMAT_UNSPECIFIED: MemoryFormat
MEMORY_FORMAT_CONTIGUOUS: MemoryFormat
MEMORY_FORMAT_PRESERVE: MemoryFormat
MEMORY_FORMAT_CHANNELS_LAST: MemoryFormat
MEMORY_FORMAT_CHANNELS_LAST_3D: MemoryFormat

class Digest(_message.Message):
    __slots__ = ("sha256", "size_bytes")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    size_bytes: int
    def __init__(self, sha256: _Optional[bytes] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Graph(_message.Message):
    __slots__ = ("format_version", "operators", "tensors", "regions", "nodes", "loss", "outputs", "batch_size")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    operators: _containers.RepeatedScalarFieldContainer[str]
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    loss: Reference
    outputs: _containers.RepeatedCompositeFieldContainer[Reference]
    batch_size: int
    def __init__(self, format_version: _Optional[int] = ..., operators: _Optional[_Iterable[str]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., loss: _Optional[_Union[Reference, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[Reference, _Mapping]]] = ..., batch_size: _Optional[int] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("role", "dtype", "shape", "strides", "requires_grad", "digest", "draw", "batches")
    class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ROLE_UNSPECIFIED: _ClassVar[Tensor.Role]
        ROLE_PARAMETER: _ClassVar[Tensor.Role]
        ROLE_BUFFER: _ClassVar[Tensor.Role]
        ROLE_CONSTANT: _ClassVar[Tensor.Role]
        ROLE_INPUT: _ClassVar[Tensor.Role]
        ROLE_TARGET: _ClassVar[Tensor.Role]
    ROLE_UNSPECIFIED: Tensor.Role
    ROLE_PARAMETER: Tensor.Role
    ROLE_BUFFER: Tensor.Role
    ROLE_CONSTANT: Tensor.Role
    ROLE_INPUT: Tensor.Role
    ROLE_TARGET: Tensor.Role
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    STRIDES_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_GRAD_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DRAW_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    role: Tensor.Role
    dtype: ScalarType
    shape: _containers.RepeatedScalarFieldContainer[int]
    strides: _containers.RepeatedScalarFieldContainer[int]
    requires_grad: bool
    digest: Digest
    draw: Draw
    batches: int
    def __init__(self, role: _Optional[_Union[Tensor.Role, str]] = ..., dtype: _Optional[_Union[ScalarType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., strides: _Optional[_Iterable[int]] = ..., requires_grad: bool = ..., digest: _Optional[_Union[Digest, _Mapping]] = ..., draw: _Optional[_Union[Draw, _Mapping]] = ..., batches: _Optional[int] = ...) -> None: ...

class Draw(_message.Message):
    __slots__ = ("normal", "uniform", "integers", "binary", "simplex")
    class Normal(_message.Message):
        __slots__ = ("mean", "standard_deviation")
        MEAN_FIELD_NUMBER: _ClassVar[int]
        STANDARD_DEVIATION_FIELD_NUMBER: _ClassVar[int]
        mean: float
        standard_deviation: float
        def __init__(self, mean: _Optional[float] = ..., standard_deviation: _Optional[float] = ...) -> None: ...
    class Uniform(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
    class Integers(_message.Message):
        __slots__ = ("low", "high")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        low: int
        high: int
        def __init__(self, low: _Optional[int] = ..., high: _Optional[int] = ...) -> None: ...
    class Binary(_message.Message):
        __slots__ = ("low", "high", "probability")
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        PROBABILITY_FIELD_NUMBER: _ClassVar[int]
        low: float
        high: float
        probability: float
        def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ..., probability: _Optional[float] = ...) -> None: ...
    class Simplex(_message.Message):
        __slots__ = ("dimension", "logarithmic")
        DIMENSION_FIELD_NUMBER: _ClassVar[int]
        LOGARITHMIC_FIELD_NUMBER: _ClassVar[int]
        dimension: int
        logarithmic: bool
        def __init__(self, dimension: _Optional[int] = ..., logarithmic: bool = ...) -> None: ...
    NORMAL_FIELD_NUMBER: _ClassVar[int]
    UNIFORM_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    SIMPLEX_FIELD_NUMBER: _ClassVar[int]
    normal: Draw.Normal
    uniform: Draw.Uniform
    integers: Draw.Integers
    binary: Draw.Binary
    simplex: Draw.Simplex
    def __init__(self, normal: _Optional[_Union[Draw.Normal, _Mapping]] = ..., uniform: _Optional[_Union[Draw.Uniform, _Mapping]] = ..., integers: _Optional[_Union[Draw.Integers, _Mapping]] = ..., binary: _Optional[_Union[Draw.Binary, _Mapping]] = ..., simplex: _Optional[_Union[Draw.Simplex, _Mapping]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("grad_enabled", "autocasts", "parent")
    class Autocast(_message.Message):
        __slots__ = ("device", "dtype", "enabled", "cache_enabled")
        class Device(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            DEVICE_UNSPECIFIED: _ClassVar[Region.Autocast.Device]
            DEVICE_CPU: _ClassVar[Region.Autocast.Device]
            DEVICE_CUDA: _ClassVar[Region.Autocast.Device]
        DEVICE_UNSPECIFIED: Region.Autocast.Device
        DEVICE_CPU: Region.Autocast.Device
        DEVICE_CUDA: Region.Autocast.Device
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        DTYPE_FIELD_NUMBER: _ClassVar[int]
        ENABLED_FIELD_NUMBER: _ClassVar[int]
        CACHE_ENABLED_FIELD_NUMBER: _ClassVar[int]
        device: Region.Autocast.Device
        dtype: ScalarType
        enabled: bool
        cache_enabled: bool
        def __init__(self, device: _Optional[_Union[Region.Autocast.Device, str]] = ..., dtype: _Optional[_Union[ScalarType, str]] = ..., enabled: bool = ..., cache_enabled: bool = ...) -> None: ...
    GRAD_ENABLED_FIELD_NUMBER: _ClassVar[int]
    AUTOCASTS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    grad_enabled: bool
    autocasts: _containers.RepeatedCompositeFieldContainer[Region.Autocast]
    parent: int
    def __init__(self, grad_enabled: bool = ..., autocasts: _Optional[_Iterable[_Union[Region.Autocast, _Mapping]]] = ..., parent: _Optional[int] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("operator", "arguments", "keywords", "region", "outputs")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    operator: int
    arguments: _containers.RepeatedCompositeFieldContainer[Argument]
    keywords: _containers.RepeatedCompositeFieldContainer[KeywordArgument]
    region: int
    outputs: _containers.RepeatedCompositeFieldContainer[ValueType]
    def __init__(self, operator: _Optional[int] = ..., arguments: _Optional[_Iterable[_Union[Argument, _Mapping]]] = ..., keywords: _Optional[_Iterable[_Union[KeywordArgument, _Mapping]]] = ..., region: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[ValueType, _Mapping]]] = ...) -> None: ...

class ValueType(_message.Message):
    __slots__ = ("dtype", "shape")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    dtype: ScalarType
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, dtype: _Optional[_Union[ScalarType, str]] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class KeywordArgument(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: Argument
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[Argument, _Mapping]] = ...) -> None: ...

class Argument(_message.Message):
    __slots__ = ("reference", "integer", "real", "boolean", "dtype", "memory_format", "text", "list", "device")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FORMAT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    reference: Reference
    integer: int
    real: float
    boolean: bool
    dtype: ScalarType
    memory_format: MemoryFormat
    text: str
    list: ArgumentList
    device: bool
    def __init__(self, reference: _Optional[_Union[Reference, _Mapping]] = ..., integer: _Optional[int] = ..., real: _Optional[float] = ..., boolean: bool = ..., dtype: _Optional[_Union[ScalarType, str]] = ..., memory_format: _Optional[_Union[MemoryFormat, str]] = ..., text: _Optional[str] = ..., list: _Optional[_Union[ArgumentList, _Mapping]] = ..., device: bool = ...) -> None: ...

class ArgumentList(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Argument]
    def __init__(self, items: _Optional[_Iterable[_Union[Argument, _Mapping]]] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("tensor", "node", "output")
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    tensor: int
    node: int
    output: int
    def __init__(self, tensor: _Optional[int] = ..., node: _Optional[int] = ..., output: _Optional[int] = ...) -> None: ...
