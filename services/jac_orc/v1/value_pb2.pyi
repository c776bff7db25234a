from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PythonValue(_message.Message):
    __slots__ = ("none_value", "bool_value", "int_value", "big_int_value", "float_value", "string_value", "bytes_value", "bytearray_value", "complex_value", "list_value", "tuple_value", "set_value", "frozenset_value", "dict_value", "text_value", "record_value", "tensor_value", "object_value", "result_value", "surrogate_string_value")
    NONE_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    BIG_INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTEARRAY_VALUE_FIELD_NUMBER: _ClassVar[int]
    COMPLEX_VALUE_FIELD_NUMBER: _ClassVar[int]
    LIST_VALUE_FIELD_NUMBER: _ClassVar[int]
    TUPLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    SET_VALUE_FIELD_NUMBER: _ClassVar[int]
    FROZENSET_VALUE_FIELD_NUMBER: _ClassVar[int]
    DICT_VALUE_FIELD_NUMBER: _ClassVar[int]
    TEXT_VALUE_FIELD_NUMBER: _ClassVar[int]
    RECORD_VALUE_FIELD_NUMBER: _ClassVar[int]
    TENSOR_VALUE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_VALUE_FIELD_NUMBER: _ClassVar[int]
    RESULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    SURROGATE_STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    none_value: bool
    bool_value: bool
    int_value: int
    big_int_value: bytes
    float_value: float
    string_value: str
    bytes_value: bytes
    bytearray_value: bytes
    complex_value: ComplexValue
    list_value: SequenceValue
    tuple_value: SequenceValue
    set_value: SequenceValue
    frozenset_value: SequenceValue
    dict_value: MappingValue
    text_value: TextValue
    record_value: RecordValue
    tensor_value: TensorValue
    object_value: ObjectReference
    result_value: ResultReference
    surrogate_string_value: bytes
    def __init__(self, none_value: _Optional[bool] = ..., bool_value: _Optional[bool] = ..., int_value: _Optional[int] = ..., big_int_value: _Optional[bytes] = ..., float_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ..., bytearray_value: _Optional[bytes] = ..., complex_value: _Optional[_Union[ComplexValue, _Mapping]] = ..., list_value: _Optional[_Union[SequenceValue, _Mapping]] = ..., tuple_value: _Optional[_Union[SequenceValue, _Mapping]] = ..., set_value: _Optional[_Union[SequenceValue, _Mapping]] = ..., frozenset_value: _Optional[_Union[SequenceValue, _Mapping]] = ..., dict_value: _Optional[_Union[MappingValue, _Mapping]] = ..., text_value: _Optional[_Union[TextValue, _Mapping]] = ..., record_value: _Optional[_Union[RecordValue, _Mapping]] = ..., tensor_value: _Optional[_Union[TensorValue, _Mapping]] = ..., object_value: _Optional[_Union[ObjectReference, _Mapping]] = ..., result_value: _Optional[_Union[ResultReference, _Mapping]] = ..., surrogate_string_value: _Optional[bytes] = ...) -> None: ...

class ComplexValue(_message.Message):
    __slots__ = ("real", "imaginary")
    REAL_FIELD_NUMBER: _ClassVar[int]
    IMAGINARY_FIELD_NUMBER: _ClassVar[int]
    real: float
    imaginary: float
    def __init__(self, real: _Optional[float] = ..., imaginary: _Optional[float] = ...) -> None: ...

class SequenceValue(_message.Message):
    __slots__ = ("items", "floats", "ints")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    FLOATS_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[PythonValue]
    floats: _containers.RepeatedScalarFieldContainer[float]
    ints: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, items: _Optional[_Iterable[_Union[PythonValue, _Mapping]]] = ..., floats: _Optional[_Iterable[float]] = ..., ints: _Optional[_Iterable[int]] = ...) -> None: ...

class MappingValue(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[MappingEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[MappingEntry, _Mapping]]] = ...) -> None: ...

class MappingEntry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: PythonValue
    value: PythonValue
    def __init__(self, key: _Optional[_Union[PythonValue, _Mapping]] = ..., value: _Optional[_Union[PythonValue, _Mapping]] = ...) -> None: ...

class TextValue(_message.Message):
    __slots__ = ("type", "text")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    type: str
    text: str
    def __init__(self, type: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class RecordValue(_message.Message):
    __slots__ = ("type", "fields")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    type: str
    fields: _containers.RepeatedCompositeFieldContainer[RecordField]
    def __init__(self, type: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[RecordField, _Mapping]]] = ...) -> None: ...

class RecordField(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: PythonValue
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[PythonValue, _Mapping]] = ...) -> None: ...

class TensorValue(_message.Message):
    __slots__ = ("dtype", "shape", "fortran_order", "data", "type")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    FORTRAN_ORDER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    fortran_order: bool
    data: bytes
    type: str
    def __init__(self, dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., fortran_order: _Optional[bool] = ..., data: _Optional[bytes] = ..., type: _Optional[str] = ...) -> None: ...

class ObjectReference(_message.Message):
    __slots__ = ("obj_id", "type", "repr", "is_callable")
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REPR_FIELD_NUMBER: _ClassVar[int]
    IS_CALLABLE_FIELD_NUMBER: _ClassVar[int]
    obj_id: str
    type: str
    repr: str
    is_callable: bool
    def __init__(self, obj_id: _Optional[str] = ..., type: _Optional[str] = ..., repr: _Optional[str] = ..., is_callable: _Optional[bool] = ...) -> None: ...

class ResultReference(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...
