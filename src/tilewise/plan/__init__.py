"""What the machine is, and what a run on it uses.

What enters: facts (from the operating system, or recorded) and the shape of the work. What
leaves: a frozen `Plan` with every size that a run uses and the reason for each. Planning is
arithmetic: it measures nothing and gives the same plan for the same facts.
"""

from tilewise.plan.machine import Fact, Machine, detect, machine
from tilewise.plan.plan import Plan, plan
from tilewise.plan.shards import exact_shard_rows
from tilewise.plan.threads import n_threads

__all__ = ["Fact", "Machine", "Plan", "detect", "exact_shard_rows", "machine", "n_threads", "plan"]
