"""Which reports of a driver mean that a GPU must not get anything new. Pure."""

# NVIDIA's Xid errors after which the device or its memory is not to be trusted until it was reset. The others are about
# one program (13, 31, 43, 45) or were corrected (63, 92, 94).
_FATAL = {
    48: "double-bit ECC error",
    62: "its microcontroller halted",
    64: "a memory row could not be remapped",
    74: "NVLink error",
    79: "it has fallen off the bus",
    95: "uncontained memory error",
    109: "context switch timed out",
    119: "its firmware does not answer",
    120: "its firmware failed",
    140: "unrecovered ECC error",
}
_CURE = "reset or replace it (nvidia-smi --gpu-reset, or restart the machine)"


def of_xid(number: int) -> str:
    """Why a GPU must not be used after this Xid error; "" when it may."""
    words = _FATAL.get(number)
    return f"{words} (Xid {number}); {_CURE}" if words else ""


def of_memory(*, uncorrected: int, remap_failed: bool) -> str:
    """Why a GPU must not be used, with this many uncorrected ECC errors since the driver was loaded; "" when it may."""
    if remap_failed:
        return f"a memory row could not be remapped; {_CURE}"
    return f"{uncorrected} uncorrected ECC errors; {_CURE}" if uncorrected else ""
