from numpy.typing import DTypeLike

def fma_gflops(
    dtype: DTypeLike = "float32",
    threads: int = 1,
    isa: str | None = None,
    repeats: int = 20_000_000,
) -> float: ...
def product_gflops(
    threads: int = 1, isa: str | None = None, repeats: int = 2_000_000
) -> float | None: ...
def stream_gbs(threads: int = 1, size: int = 268_435_456) -> float: ...
def store_gbs(
    threads: int = 1, streaming: bool = False, size: int = 268_435_456
) -> float | None: ...
