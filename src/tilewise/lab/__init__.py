"""The lab: what a run should cost, what it would cost in simulated caches, what it does cost.

What enters: shapes, a `Plan`, a `Machine`. What leaves: records that print themselves and turn
into JSON. Nothing here changes a result of tilewise, and nothing outside `cli` calls it. The
predictions and the simulation need nothing but numpy.

One list of what a pass touches, chunk by chunk, stands in `stages`. Formulas and simulation are
both derived from it; a new kind of pass is a new loop there.

    accesses, stages      loops of a chunk: buffers, bytes, steps, in the kernels' order
    products, sums        its part for scores from bfloat16 on AMX, and for sums of clusters
    visits, reuse         formulas: reuse distances in the list, and what a cache makes of them
    traffic, flows        bytes between the levels by those formulas; what lies where
    roofs, expected       what a machine reaches, and how long a pass should take
    explain               all of it about one plan, in words
    caches                sizes and ways of the levels
    trace, simulate       the list written out as addresses, run through simulated caches
    cachegrind, _driver   the real kernels under valgrind, and the process that runs them there

Measured (each experiment is a row of `experiments.EXPERIMENTS`):

    chunks, dtypes, threads, materialise, mountain, roofline, peers
        what each measures; figures, tables and words are made from a result alone, so that a
        file from another machine reads like one's own
    experiments           runs one: a result that follows result.schema.json, every sample in it
    tune                  candidates around the plan, and the record of the best
    figures               what a figure is, however it is drawn
    charts, plots         a figure drawn, for a page (plotly); the same as PNG or SVG (matplotlib)
    report                the page (jinja2)
    schema                whether a file is a result (jsonschema)
    quiet                 whether the machine was quiet, and what may be concluded if it was not
    _load                 what else the machine does meanwhile
    _run                  repeated, interleaved samples
    _traffic, _rates      bytes between levels, and rates of the machine, for the experiments
    _steps                where a curve over working sets climbs
    _materialise          the process of one method of `materialise`
    _machine, _data       what a result says of the machine; the rows that are measured on
"""
