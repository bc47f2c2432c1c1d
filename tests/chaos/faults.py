"""The faults of a deployment while clients use it, at random moments from a seed."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter

# The weights of the faults. RabbitMQ and `up` are rare, because they take seconds to come back.
FAULTS = {
    "kill a worker": 26,
    "kill a web worker": 16,
    "kill the web server": 5,
    "kill beat": 8,
    "kill Valkey, which comes back empty": 12,
    "kill Valkey, which comes back older": 14,
    "flush Valkey": 4,
    "stall Valkey": 3,
    "restart RabbitMQ": 5,
    "drop the database connections": 12,
    "kill up and all that it runs": 2,
}
VALKEY = [fault for fault in FAULTS if "Valkey" in fault]
# The least number of some faults in a run of 200.
_LEAST = {
    "restart RabbitMQ": 3,
    "kill Valkey, which comes back empty": 8,
    "kill Valkey, which comes back older": 12,
}


class Injector:
    """Injects the faults of a plan. Use it in the main thread only.

    A process that a thread starts ends with the thread.
    """

    def __init__(self, seed, deployment, count, stop):
        self.dice, self.deployment, self.stop = random.Random(f"{seed}/faults"), deployment, stop
        self.plan, self.done = self._plan(count), Counter()

    @property
    def is_over(self):
        return not self.plan

    def next(self):
        """Wait for a random moment, then inject the next fault of the plan."""
        if not self.stop.wait(self.dice.uniform(0.1, 1.5)):
            fault = self.plan.pop()
            if self._inject(fault):
                self.done[fault] += 1
            else:
                self.plan.insert(0, fault)

    def _inject(self, fault):
        """Inject a fault; return False if the process is still down after an earlier fault."""
        deployment = self.deployment
        inject = {
            "kill a worker": lambda: self._kill_one("worker"),
            "kill a web worker": lambda: self._kill_one("web worker"),
            "kill the web server": lambda: self._kill_one("web"),
            "kill beat": lambda: self._kill_one("beat"),
            "kill Valkey, which comes back empty": lambda: self._kill_valkey(older=False),
            "kill Valkey, which comes back older": lambda: self._kill_valkey(older=True),
            "flush Valkey": deployment.valkey.flush,
            "stall Valkey": self._stall_valkey,
            "restart RabbitMQ": deployment.restart_rabbitmq,
            "drop the database connections": deployment.drop_database_connections,
            "kill up and all that it runs": deployment.kill_up,
        }[fault]
        return inject() is not False

    def _kill_one(self, kind):
        pids = self.deployment.processes(kind)
        if not pids:
            return False
        self.deployment.kill(self.dice.choice(pids))
        return True

    def _kill_valkey(self, *, older):
        """Restart Valkey, with a snapshot of up to a second ago (`older`) or without one."""
        valkey = self.deployment.valkey
        valkey.forget_snapshot()
        if older:
            valkey.snapshot()
            self.stop.wait(self.dice.uniform(0.05, 1.0))
        valkey.restart()

    def _stall_valkey(self):
        pid = self.deployment.valkey.process.pid
        os.kill(pid, signal.SIGSTOP)
        self.stop.wait(self.dice.uniform(0.2, 2.0))
        os.kill(pid, signal.SIGCONT)

    def _plan(self, count):
        plan = self.dice.choices(list(FAULTS), FAULTS.values(), k=count)
        for fault, least in _LEAST.items():
            wanted = max(1, min(least, count * least // 200))
            plan += [fault] * max(0, wanted - plan.count(fault))
        self.dice.shuffle(plan)
        return plan
