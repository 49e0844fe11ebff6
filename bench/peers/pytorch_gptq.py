#!/usr/bin/env python3
"""GPTQ as published (arXiv 2210.17323, section 4) in PyTorch, to 4 bits in groups of 128, columns by descending H_ii and
scales of the original groups: what gptq_bench does, on one thread. Needs python3-torch.

    taskset -c 1 python3 bench/peers/pytorch_gptq.py            layers of 1024 and of 4096 inputs
    taskset -c 1 python3 bench/peers/pytorch_gptq.py 2048 9     one of 2048, the median of 9 times

Prints seconds, beside which `taskset -c 1 build/bench/gptq_bench` has its own.
"""
import statistics
import sys
import time

import torch

SAMPLES, GROUP, BLOCK, LEVELS, DAMPING = 2048, 128, 128, 16, 0.01


def hessian(x):
    x = x * (2 / x.shape[1]) ** 0.5
    return x @ x.T


def gptq(w, h):
    w, h = w.clone(), h.clone()
    n = w.shape[1]
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    scales = [block.abs().amax(1).mul(2 / (LEVELS - 1)).clamp(min=1e-30) for block in w.split(GROUP, 1)]
    order = torch.argsort(torch.diag(h), descending=True)
    w, h = w[:, order], h[order][:, order]
    group_of = [j // GROUP for j in order.tolist()]
    h.diagonal().add_(DAMPING * torch.diag(h).mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    q = torch.zeros_like(w)
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        block, errors, factor = w[:, begin:end].clone(), torch.zeros(w.shape[0], end - begin), u[begin:end, begin:end]
        for k in range(end - begin):
            column, scale = block[:, k], scales[group_of[begin + k]]
            rounded = torch.clamp(torch.round(column / scale), -LEVELS // 2, LEVELS // 2 - 1) * scale
            q[:, begin + k] = rounded
            errors[:, k] = (column - rounded) / factor[k, k]
            block[:, k:] -= torch.outer(errors[:, k], factor[k, k:])
        w[:, end:] -= errors @ u[begin:end, end:]
    return q[:, torch.argsort(order)]


def median_seconds(work, times):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main(arguments):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    times = int(arguments[1]) if len(arguments) > 1 else 5
    for n in [int(arguments[0])] if arguments else [1024, 4096]:
        w, x = torch.rand(n, n) * 2 - 1, torch.rand(n, SAMPLES) * 2 - 1
        h = hessian(x)
        print(f"PyTorch {torch.__version__}, {n} x {n}: Hessian of {SAMPLES} samples "
              f"{median_seconds(lambda: hessian(x), times):.4f} s, GPTQ {median_seconds(lambda: gptq(w, h), times):.4f} s")


main(sys.argv[1:])
