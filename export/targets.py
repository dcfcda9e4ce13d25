"""What devices accept: pure data."""

from dataclasses import dataclass, field

# What a file gives for each pixel.
HEADS = ("logits", "argmax", "softmax")

# With any of these a file is slower, cannot be compiled, or needs sizes at run time. A converted
# model has them when its batch or size is not fixed.
_DYNAMIC_OPS = frozenset(
    {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SHAPE", "PACK", "DEQUANTIZE", "CUSTOM"}
)

# The highest version of each op that Google's Edge TPU compiler 16.0 (July 2021, the last) can
# parse: those of TensorFlow Lite 2.6 and older. One op of a higher version, or one that is not
# here, makes it refuse the whole file, even where that op would stay on the CPU.
# Source: tensorflow/lite/tools/versioning/runtime_version.cc; agrees with the refusals reported in
# google-coral/edgetpu issues 631 and 845 and libedgetpu issue 71.
_EDGETPU_PARSES = {
    1: """ADD_N ASSIGN_VARIABLE BROADCAST_ARGS CALL_ONCE CAST CEIL COMPLEX_ABS CONV_3D
        CONV_3D_TRANSPOSE COS CUMSUM DENSIFY ELU EMBEDDING_LOOKUP_SPARSE EXP EXPAND_DIMS FLOOR
        FLOOR_MOD HARD_SWISH HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_LOOKUP
        HASHTABLE_SIZE IF IMAG L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT
        LOGICAL_OR LSH_PROJECTION MATRIX_DIAG MATRIX_SET_DIAG NEG NON_MAX_SUPPRESSION_V4
        NON_MAX_SUPPRESSION_V5 ONE_HOT POW PRELU RANGE RANK READ_VARIABLE REAL REDUCE_ALL
        REDUCE_ANY RELU_N1_TO_1 RESHAPE REVERSE_SEQUENCE RFFT2D ROUND SCATTER_ND SEGMENT_SUM
        SELECT_V2 SHAPE SIN SKIP_GRAM SQRT SQUARE UNIQUE VAR_HANDLE WHERE WHILE ZEROS_LIKE""",
    2: """ARG_MAX ARG_MIN DEPTH_TO_SPACE DIV FAKE_QUANT FLOOR_DIV GREATER GREATER_EQUAL
        L2_NORMALIZATION LEAKY_RELU LESS LESS_EQUAL LOG_SOFTMAX MIRROR_PAD QUANTIZE REDUCE_PROD
        RSQRT SELECT SPACE_TO_DEPTH SPLIT_V SQUARED_DIFFERENCE SQUEEZE SUM TILE TOPK_V2""",
    3: """AVERAGE_POOL_2D BATCH_TO_SPACE_ND BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN
        BROADCAST_TO CONCATENATION EMBEDDING_LOOKUP EQUAL FILL GATHER_ND LOGISTIC MAX_POOL_2D MEAN
        NOT_EQUAL PACK REDUCE_MAX REDUCE_MIN RELU RELU6 REVERSE_V2 RNN SOFTMAX SPACE_TO_BATCH_ND
        SPARSE_TO_DENSE TANH TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM
        UNIDIRECTIONAL_SEQUENCE_RNN""",
    4: """ABS ADD BATCH_MATMUL DEQUANTIZE LSTM MAXIMUM MINIMUM PAD PADV2 RESIZE_BILINEAR
        RESIZE_NEAREST_NEIGHBOR SPLIT SVDF UNPACK""",
    5: "CONV_2D GATHER MUL SLICE SUB TRANSPOSE",
    6: "DEPTHWISE_CONV_2D STRIDED_SLICE",
    9: "FULLY_CONNECTED",
}
EDGETPU_VERSIONS: dict[str, int] = {
    name: version for version, names in _EDGETPU_PARSES.items() for name in names.split()
}


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: The word of `kseg export --target`.
        recipes: Quantization recipes it can use.
        placer: "module:function" that says where the ops of a file run on it, as
            `export.devices.placement.on_edgetpu`; None where all run on the CPU or GPU.
        op_versions: Op to the highest version it parses; empty where all are.
        refused_ops: Ops that an integer file must not have.
        accelerator: The name by which Arm's compiler Vela knows it; None where Vela is not for
            this device.
        takes_metadata: Whether its apps read TFLite metadata.
        runtimes: Runtimes that prove a file for it, beside the quick ones: keys of
            `export.proof.runtimes.RUNTIMES`.
    """

    name: str
    recipes: tuple[str, ...] = ("full_integer",)
    placer: str | None = None
    op_versions: dict[str, int] = field(default_factory=dict)
    refused_ops: frozenset[str] = _DYNAMIC_OPS
    accelerator: str | None = None
    takes_metadata: bool = False
    runtimes: tuple[str, ...] = ()

    @property
    def takes_float(self) -> bool:
        """Whether a file may compute in float."""
        return "float32" in self.recipes


_EVERY_RECIPE = ("float32", "float16", "dynamic_range", "int16x8", "full_integer")
_ON_ETHOS = "export.devices.placement:on_ethos"
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("android", _EVERY_RECIPE, takes_metadata=True),
        Target(
            "edgetpu",
            placer="export.devices.placement:on_edgetpu",
            op_versions=EDGETPU_VERSIONS,
        ),
        Target("ethos-u55-128", placer=_ON_ETHOS, accelerator="ethos-u55-128"),
        Target("ethos-u65-256", placer=_ON_ETHOS, accelerator="ethos-u65-256"),
        Target("ethos-u85-256", placer=_ON_ETHOS, accelerator="ethos-u85-256"),
        Target(
            "coral-npu",
            placer="export.devices.coral_npu:on_coral_npu",
            runtimes=("iree",),
        ),
    )
}
