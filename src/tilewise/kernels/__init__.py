"""The loops that the rest of tilewise exists to call.

What enters: a `Rows` object (any real dense array, or CSR), float64 centres, buffers that
the engine allocated, and sizes that the plan chose. What leaves: numbers in those buffers.
The engine validates; kernels never ask the machine, choose a size or hold state between
calls. Parallel loops stand here and nowhere else, each with an explicit number of threads:
`run_blocks` of `_dispatch` hands out blocks of rows, or tasks, with a workspace per thread; loops
over single clusters, panels or rows of a ready block have a `prange` of their own.

    c/            the tile body, packing and canonical distances; one source, compiled once
                  per instruction set
    _dispatch     which compilations exist, which one this machine can run; threads of loops
    _rows         where rows come from
    _workspace    buffers of parts, one per thread
    _pass         what one pass reads, and the parts of its workspace
    _assign       one pass: pack, score, certify, update sums
    _score        the scores of a chunk, by each layout
    _groups       the same for rows that meet some groups of centres only
    _look         a first look in bytes, which leaves few rows to the scores
    _decide       what scores and bounds leave open; renewing bounds
    _centers      centres packed for a pass, and how far they moved
    _sums         sums of rows by cluster, and of numbers, that have no order
    _minibatch    draws of mini-batches, centres moved by them
    _thin         the same of CSR rows, from their stored entries
    _exact        canonical distances, inertia, column moments
    _csr          column moments of CSR rows
    _pairs        matrices of distances of dense rows
    _sparse       matrices of distances where a side is CSR
    _near         the search for neighbours by scores, or by a scan
    _near_pack    rows of X and Y packed for it
    _near_split   the same in parts of bfloat16
    _candidates   candidates of the search, and the canonical distances that decide
    _near_csr     neighbours from blocks of distances where a side is CSR
    _brute_force  neighbours among few rows: all distances, ranked
    _single       single rows against centres as they lie in memory
    _topk         the k lowest values of blocks, for any metric
    _within       values of blocks up to a radius, for any metric
    _seeding      greedy k-means++: what candidates gain, sums, draws
    _screen       its two passes over dense rows
    _seeding_pass what these passes read
    _seeding_csr  the same of CSR rows with few stored entries
    _seeding_few  all the steps of k-means++ of few rows
    _probe        measured peaks, for benchmarks
    _mountain     reading alone, for the memory mountain
    _cachesim     a simulator of caches, for the lab
"""
