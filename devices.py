"""What a training runs on: which devices, and in which precision."""

import os
from pathlib import Path

import tensorflow as tf


def strategy():
    """All visible GPUs, memory growing as needed; without one, says so."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        print(f"No GPU found: training on {os.cpu_count()} processor cores, which is slow.")
    else:
        print(f"Training on {len(gpus)} GPU{'s' * (len(gpus) > 1)}.")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def precision():
    """The Keras policy that is fast here: bfloat16 or float16 where the hardware has it."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
        capability = min(detail.get("compute_capability", (0, 0)) for detail in details)
        if capability >= (8, 0):
            return "mixed_bfloat16"
        return "mixed_float16" if capability >= (7, 0) else "float32"
    try:
        processor = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        processor = ""
    # Without native instructions bfloat16 is emulated, and slower than float32.
    return "mixed_bfloat16" if "amx_bf16" in processor or "avx512_bf16" in processor else "float32"
