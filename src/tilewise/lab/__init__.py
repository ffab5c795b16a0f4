"""The lab: what a run should cost, what it would cost in simulated caches, what it does cost.

What enters: shapes, a `Plan`, a `Machine`. What leaves: records that print themselves and turn
into JSON. Nothing here changes a result of tilewise, and nothing outside `cli` calls it. The
predictions and the simulation need nothing but numpy.

Predicted, by closed formulas (`traffic`, `roofs`, `explain`)::

    ledger(plan, machine, *, update=False) -> tuple[Buffer, ...]
        name, bytes, home ("L1", "L2", "L3", "memory"), home_bytes, share (bytes / home_bytes)
    traffic(plan, machine, *, update=False, config=None) -> Traffic
        .flows: one Flow per pair of neighbouring levels, innermost first: inner ("L1"), outer
        ("L2"), bytes_in, bytes_out, bytes (their sum), by_buffer {name: (in, out)}
        .multiply_adds, .intensity(flow) (floating-point operations per byte), .to_dict()
    Roofs(compute_gflops, bandwidth_gbs={"L1": ..., "L2": ..., "memory": ...}, source)
        Roofs.measure(...), Roofs.from_dict(d), Roofs.defaults(machine, dtype), .to_dict()
    explain(n_samples, n_features, n_clusters, dtype="float32", *, n_threads=None,
            chunk_size="auto", engine="auto", machine=None, roofs=None) -> Explanation
        .plan, .ledger, .traffic, .bound, .seconds, .changes; .to_dict(), .sentences()

Simulated (`simulate`, `trace`)::

    CacheConfig.from_machine(machine) / CacheConfig.of([(size, ways), ...], line_bytes=64)
    simulate(plan, config, *, update=False, max_rows=None, prefetch=True) -> Simulation
        .flows as above, .levels with accesses, misses, write_backs, by_buffer; .to_dict()
    simulate_chunks(n, d, k, chunk_sizes, *, dtype="float32", engine="auto", machine=None,
                    config=None, update=False, max_rows=None, progress=None)
        -> list[ChunkTraffic]: .chunk_rows, .plan, .predicted (Traffic), .simulated (Simulation)

Run under valgrind (`cachegrind`)::

    available() -> str | None         why it cannot run, or None
    run(n, d, k, *, dtype="float32", chunk_size="auto", engine="auto", isa="avx2",
        d1=(32768, 8, 64), ll=(262144, 8, 64), update=False, timeout=300) -> CachegrindResult
        .d1_misses, .ll_misses (lines, reads and writes), .plan, .to_dict()

Measured (each experiment is a row of `experiments.EXPERIMENTS`)::

    perform(name, parameters=None, *, seconds=None, quick=False, watch=None, meter=None) -> dict
        a result that follows result.schema.json: whether the machine was quiet, machine,
        versions, parameters, raw samples; Ctrl-C keeps what there is

    chunks, dtypes, threads, materialise, mountain, roofline, peers
        what each measures; figures, tables and words are made from a result alone, so that a
        file from another machine reads like one's own
    tune                  candidates around the plan, and the record of the best
    figures               what a figure is, however it is drawn
    plots, charts         drawn as PNG or SVG (matplotlib), for a page (plotly)
    report                the page (jinja2)
    schema                whether a file is a result
    quiet                 whether the machine was quiet, and what may be concluded if it was not
    _load                 what else the machine does meanwhile
    _run                  repeated, interleaved samples
    _machine, _data       what a result says of the machine; the rows that are measured on
"""
