from tilewise.kernels._rows import Rows

class Candidates:
    def __init__(self, rows: Rows) -> None: ...
