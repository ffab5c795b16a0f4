"""What the machine is, and what a run on it uses.

What enters: facts (from the operating system, or recorded) and the shape of the work. What
leaves: a frozen `Plan` or `PairPlan` with every size that a run uses and the reason for each.
Planning is arithmetic: it measures nothing and gives the same plan for the same facts, and the
same record of what was measured before (`tuning`), if there is one.
"""

from tilewise.plan.few_seeds import local_trials, seeds_at_once
from tilewise.plan.machine import Fact, Machine, detect, machine
from tilewise.plan.neighbors import NeighborPlan, plan_neighbors
from tilewise.plan.pairs import PairPlan, plan_pairs
from tilewise.plan.plan import Plan, plan
from tilewise.plan.shards import exact_shard_rows
from tilewise.plan.stream import LimitTooSmall, StreamPlan, parse_bytes, plan_stream, sample_rows
from tilewise.plan.threads import n_threads

__all__ = [
    "Fact", "LimitTooSmall", "Machine", "NeighborPlan", "PairPlan", "Plan", "StreamPlan", "detect",
    "exact_shard_rows", "local_trials", "machine", "n_threads", "parse_bytes", "plan",
    "plan_neighbors", "plan_pairs", "plan_stream", "sample_rows", "seeds_at_once",
]  # fmt: skip
