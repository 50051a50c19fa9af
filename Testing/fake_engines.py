"""Dose engines that compute nothing, for tests of what surrounds an engine."""

from __future__ import annotations

import errno
import os
import signal
import time

import numpy as np
from scipy import sparse

from radplan.errors import InputError


class FakeEngine:
    """Every beamlet gives every voxel inside the body its own number, 1, 2, 3 …"""

    lateral_cutoff_mm = 1000.0
    version = "1"

    def identity(self, machine):
        return f"{type(self).__name__} {self.version} {machine}"

    def source_axis_distance_mm(self, machine):
        return 1000.0

    def influence(self, anatomy, field, report):
        report(0.5)
        dose = np.zeros((anatomy.grid.size, field.x_mm.size), np.float32)
        dose[anatomy.inside.ravel()] = np.arange(1, field.x_mm.size + 1)
        return sparse.csc_array(dose)


class FakePointEngine(FakeEngine):
    """Every beamlet gives the voxel at the isocentre the same dose, and nothing elsewhere."""

    dose = 0.5

    def influence(self, anatomy, field, report):
        index = [round(i) for i in anatomy.grid.index_of(field.beam.isocenter_mm)]
        row = int(np.ravel_multi_index(index, anatomy.grid.shape))
        n = field.x_mm.size
        entries = (np.full(n, self.dose, np.float32), (np.full(n, row), np.arange(n)))
        return sparse.csc_array(entries, shape=(anatomy.grid.size, n))


class FakeTalkingEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        print("chatter that nobody wants to read")
        return super().influence(anatomy, field, report)


class FakeSleepingEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        report(0.25)
        time.sleep(600)


class FakeRefusingEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        raise InputError("this engine refuses; use another")


class FakeCrashingEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        raise ZeroDivisionError("a bug in the engine")


class FakeKilledEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        os.kill(os.getpid(), signal.SIGKILL)


class FakeFullDiskEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        raise OSError(errno.ENOSPC, "No space left on device")


class FakeDarkEngine(FakeEngine):
    def influence(self, anatomy, field, report):
        return sparse.csc_array((anatomy.grid.size, field.x_mm.size), dtype=np.float32)
