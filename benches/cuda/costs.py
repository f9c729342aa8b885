"""Measures the driver's memory calls on an idle GPU: the median microseconds of each call.

The program needs only the driver. Its figures are the reason for the size of a page, and show what a
pool saves.
"""

import ctypes
import statistics
import time

MIB = 1 << 20
driver = ctypes.CDLL("libcuda.so.1")
u64, size_t, byref = ctypes.c_uint64, ctypes.c_size_t, ctypes.byref


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Properties(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("handles", ctypes.c_int), ("location", Location),
                ("win32", ctypes.c_void_p), ("flags", ctypes.c_ubyte * 8)]


class Access(ctypes.Structure):
    _fields_ = [("location", Location), ("flags", ctypes.c_int)]


def call(name, *arguments):
    status = getattr(driver, name)(*arguments)
    assert status == 0, f"{name} returned {status}"


def timed(name, *arguments):
    start = time.perf_counter()
    call(name, *arguments)
    return (time.perf_counter() - start) * 1e6


def plain(size, times):
    """Measures cuMemAlloc and cuMemFree."""
    costs = []
    for _ in range(times):
        address = u64()
        cost = timed("cuMemAlloc_v2", byref(address), size_t(size))
        costs.append((cost, timed("cuMemFree_v2", address)))
    return [statistics.median(column) for column in zip(*costs)]


def ordered(size, times):
    """Measures cuMemAllocAsync and cuMemFreeAsync with a warm pool."""
    costs = []
    for _ in range(times):
        address = u64()
        cost = timed("cuMemAllocAsync", byref(address), size_t(size), None)
        costs.append((cost, timed("cuMemFreeAsync", address, None)))
    call("cuCtxSynchronize")
    return [statistics.median(column) for column in zip(*costs)]


def mapped(base, piece, count, at_once, device):
    """Measures the create, map, release and unmap of pieces. Sets access for all at once or for each."""
    kind = Properties(1, 0, Location(1, device), None)
    access = Access(Location(1, device), 3)
    costs = {"create": [], "map": [], "release": [], "access": [], "unmap": []}
    for index in range(count):
        handle, at = u64(), u64(base + index * piece)
        costs["create"].append(timed("cuMemCreate", byref(handle), size_t(piece), byref(kind), u64(0)))
        costs["map"].append(timed("cuMemMap", at, size_t(piece), size_t(0), handle, u64(0)))
        costs["release"].append(timed("cuMemRelease", handle))
        if not at_once:
            costs["access"].append(timed("cuMemSetAccess", at, size_t(piece), byref(access), size_t(1)))
    if at_once:
        whole = timed("cuMemSetAccess", u64(base), size_t(count * piece), byref(access), size_t(1))
        costs["access"] = [whole / count]
    for index in range(count):
        at = u64(base + index * piece)
        costs["unmap"].append(timed("cuMemUnmap", at, size_t(piece)))
    return {name: statistics.median(values) for name, values in costs.items()}


def main():
    context, device = ctypes.c_void_p(), ctypes.c_int()
    call("cuInit", 0)
    call("cuDeviceGet", byref(device), 0)
    call("cuDevicePrimaryCtxRetain", byref(context), device)
    call("cuCtxSetCurrent", context)
    pool, keep = ctypes.c_void_p(), u64(2**64 - 1)
    call("cuDeviceGetDefaultMemPool", byref(pool), device)
    call("cuMemPoolSetAttribute", pool, 4, byref(keep))

    print(f"{'MiB':>8} {'cuMemAlloc':>12} {'cuMemFree':>12} {'AllocAsync':>12} {'FreeAsync':>12}")
    for size in [64 << 10, MIB, 16 * MIB, 256 * MIB, 1024 * MIB]:
        row = plain(size, 50) + ordered(size, 200)
        print(f"{size / MIB:8.2f} " + " ".join(f"{cost:12.2f}" for cost in row))

    base, reserved = u64(), 8 << 30
    call("cuMemAddressReserve", byref(base), size_t(reserved), size_t(0), u64(0), u64(0))
    print(f"\n{'piece MiB':>9} {'access':>8} " + " ".join(f"{n:>9}" for n in
          ["create", "map", "release", "access", "unmap"]) + f" {'us a GiB':>10}")
    for piece in [2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB]:
        for at_once in [False, True]:
            count = min(256, (2 << 30) // piece)
            costs = mapped(base.value, piece, count, at_once, device.value)
            total = sum(costs.values()) * (1 << 30) / piece
            print(f"{piece / MIB:9.0f} {'at once' if at_once else 'each':>8} "
                  + " ".join(f"{cost:9.2f}" for cost in costs.values()) + f" {total:10.0f}")
    call("cuMemAddressFree", base, size_t(reserved))


if __name__ == "__main__":
    main()
