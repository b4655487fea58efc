#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inside a partition: sends each argument as a message of a channel, and prints what is answered.
    ask.py CHANNEL TEXT..."""
import ctypes
import os
import sys

AGAIN, PEER_RESTARTED = 1, 2            # enum ulv_result
READABLE, WRITABLE = 1, 2               # events of ulv_channel_wait()

lib = ctypes.CDLL("libultravisor.so.0")
channel_p, size_p = ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)
lib.ulv_channel_join.argtypes = [ctypes.c_char_p, ctypes.POINTER(channel_p)]
lib.ulv_channel_send.argtypes = [channel_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
lib.ulv_channel_receive.argtypes = [channel_p, ctypes.c_char_p, ctypes.c_size_t, size_p]
lib.ulv_channel_wait.argtypes = [channel_p, ctypes.c_uint, ctypes.c_int64]
lib.ulv_channel_close.argtypes = [channel_p]
lib.ulv_channel_close.restype = channel_p


def until_done(channel, events, call, *arguments):
    """0 of a call that may have to wait; raises what else it says."""
    while (result := call(channel, *arguments)) in (AGAIN, PEER_RESTARTED):
        if result == AGAIN and lib.ulv_channel_wait(channel, events, 5_000_000) == AGAIN:
            raise TimeoutError("the other end says nothing")
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    if result > 0:
        raise ConnectionError(f"the other end is gone (result {result})")


def main():
    channel = channel_p()
    result = lib.ulv_channel_join(sys.argv[1].encode(), ctypes.byref(channel))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    buffer, length = ctypes.create_string_buffer(65536), ctypes.c_size_t()
    for text in sys.argv[2:]:
        until_done(channel, WRITABLE, lib.ulv_channel_send, text.encode(), len(text.encode()), 0)
        until_done(channel, READABLE, lib.ulv_channel_receive, buffer, len(buffer), ctypes.byref(length))
        print(buffer.raw[:length.value].decode())
    lib.ulv_channel_close(channel)


main()
