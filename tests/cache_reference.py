"""Set-associative caches in plain Python: one ordered dict per set, the oldest line first."""

from collections import OrderedDict


class ReferenceCaches:
    """Levels (sets, ways), counted per level: accesses, misses, write-backs."""

    def __init__(self, levels, inclusive=False):
        self.levels = [(ways, [OrderedDict() for _ in range(sets)]) for sets, ways in levels]
        self.inclusive = inclusive
        self.counts = [[0, 0, 0] for _ in levels]

    def access(self, line, write=False, level=0):
        ways, sets = self.levels[level]
        lines = sets[line % len(sets)]
        self.counts[level][0] += 1
        if line in lines:
            lines.move_to_end(line)
            lines[line] |= write
            return
        self.counts[level][1] += 1
        victim = lines.popitem(last=False) if len(lines) == ways else None
        lines[line] = write
        if victim is not None:
            self.evict(level, *victim)
        if level + 1 < len(self.levels):
            self.access(line, False, level + 1)

    def evict(self, level, line, dirty):
        if self.inclusive:
            for _, sets in self.levels[:level]:
                dirty |= sets[line % len(sets)].pop(line, False)
        while dirty:
            self.counts[level][2] += 1
            level += 1
            if level == len(self.levels):
                return
            lines = self.levels[level][1][line % len(self.levels[level][1])]
            if line in lines:
                lines[line] = True  # its age stays
                return
