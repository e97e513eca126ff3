"""Tests of what a user may not do, also where an administrator runs them: in a thread that has laid down its powers."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading

import pytest

_VERSION = 0x20080522  # of the structure that capset(2) takes
_BOUNDING, _ALL = 24, 64  # prctl(PR_CAPBSET_DROP), and more capabilities than there are


def permissions_bind(test):
    """Run a test as one whom the permissions of files and folders bind."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        if os.name == "posix" and os.geteuid() != 0:
            return test(*args, **kwargs)
        if sys.platform != "linux":
            pytest.skip("permissions bind no administrator")
        raised = []

        def body():
            try:
                _lay_down()
                test(*args, **kwargs)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if raised:
            raise raised[0]
        return None

    return run


def _lay_down():
    """Give up the powers of this thread, and of the processes that it starts, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_ALL):
        libc.prctl(_BOUNDING, capability, 0, 0, 0)
    if libc.capset((ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")
