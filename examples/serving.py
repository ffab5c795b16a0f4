"""Answer rows that arrive one at a time over HTTP, and draw how long the answers take.

A model is fitted and turned into one prepared predictor. A server, waitress, answers from several
threads that share it. Clients in processes of their own send one row after the other, compare
every label with `predict`, and note how long each answer took.

    python examples/serving.py                      # ten seconds: serve, load, percentiles, picture
    python examples/serving.py --clients 8 --features 64 --clusters 256
    python examples/serving.py --serve              # only serve, until Ctrl-C
    curl -d '[0.5, 1, ...]' http://127.0.0.1:8080/label

Needs ``pip install "tilewise[serving]"``, and for the picture matplotlib.
"""

import argparse
import concurrent.futures
import http.client
import importlib.util
import json
import logging
import math
import multiprocessing
import signal
import socket
import sys
import threading
import time

import numpy as np

import tilewise

PERCENTILES = (50, 95, 99)
LARGEST_BODY = 1 << 20  # bytes
PICTURE = "serving.png"
WARM_UP = 50  # requests of each client that are not counted


# --- the server ---------------------------------------------------------------------------------


def parsed(body):
    """The row in the body of a request: a list of numbers in JSON."""
    # JSON does not tell 1 from 1.0.
    return np.asarray(json.loads(body, parse_int=float))


def answered(predictor, method, path, body):
    """The status and the answer for a request."""
    if path != "/label":
        return "404 Not Found", {"error": "send rows to /label"}
    if method != "POST":
        return "405 Method Not Allowed", {"error": "POST a list of numbers in JSON"}
    try:
        label, distance = predictor.nearest(parsed(body))
    except (TypeError, ValueError, RecursionError) as error:
        return "400 Bad Request", {"error": str(error)}
    # JSON has no infinity, which is the distance of a row at the far end of double.
    return "200 OK", {"label": label, "distance": distance if math.isfinite(distance) else None}


def application(predictor):
    """A WSGI application around one predictor, for any number of threads."""

    def answer(environ, start_response):
        body = environ["wsgi.input"].read()
        status, told = answered(predictor, environ["REQUEST_METHOD"], environ["PATH_INFO"], body)
        content = json.dumps(told).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        start_response(status, headers)
        return [content]

    return answer


def make_server(predictor, host, port, threads):
    """A server that listens, and its address; `run` answers until Ctrl-C."""
    try:
        import waitress
    except ImportError:
        sys.exit('This example needs waitress: pip install "tilewise[serving]"')
    # More clients than threads are the point of the exercise.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        sys.exit(f"Cannot listen on {host}, port {port}: {error.strerror}")
    server = waitress.create_server(
        application(predictor), sockets=[listener], threads=threads,
        max_request_body_size=LARGEST_BODY, ident=None,
    )  # fmt: skip
    return server, listener.getsockname()


# --- the clients --------------------------------------------------------------------------------


def enter(barrier, stop):
    """Prepare a client's process: wait until all are there."""
    global stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program above decides
    stopped = stop.is_set
    barrier.wait(timeout=120)


def send(connection, body):
    """The label that the server answers with."""
    connection.request("POST", "/label", body)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    if answer.status != 200:
        raise RuntimeError(f"the server refuses a row: {told['error']}")
    return told["label"]


def client(host, port, rows, labels, seconds):
    """Send rows for some seconds; return the latencies in seconds, and how many labels differ."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    bodies = [json.dumps(row.tolist()).encode() for row in rows]
    latencies, wrong, end = [], 0, math.inf
    for number in range(sys.maxsize):
        if number == WARM_UP:
            latencies.clear()
            end = time.monotonic() + seconds
        if stopped() or time.monotonic() > end:
            break
        at = number % len(bodies)
        start = time.perf_counter()
        label = send(connection, bodies[at])
        latencies.append(time.perf_counter() - start)
        wrong += label != labels[at]
    connection.close()
    return latencies, wrong


def load(host, port, rows, labels, args):
    """The latencies that all clients saw, and how many labels were wrong."""
    # A fresh interpreter each: clients must not wait for the server's lock.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with concurrent.futures.ProcessPoolExecutor(
        args.clients, mp_context=context, initializer=enter,
        initargs=(context.Barrier(args.clients), stop),
    ) as pool:  # fmt: skip
        shares = [np.arange(number, len(rows), args.clients) for number in range(args.clients)]
        running = [
            pool.submit(client, host, port, rows[share], labels[share].tolist(), args.seconds)
            for share in shares
        ]
        try:
            results = [future.result() for future in running]
        except BaseException:
            stop.set()
            raise
    return np.concatenate([latencies for latencies, _ in results]), sum(w for _, w in results)


# --- what it took -------------------------------------------------------------------------------


def alone(predictor, rows):
    """Median seconds of a call of the predictor without a server."""
    took = []
    for row in rows:
        start = time.perf_counter()
        predictor(row)
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def tell(latencies, wrong, seconds, call):
    """Print percentiles."""
    rate = len(latencies) / seconds
    print(f"{len(latencies):,} answers, {rate:,.0f} a second; {wrong} labels differ from predict.")
    for percentile, value in zip(PERCENTILES, np.percentile(latencies, PERCENTILES), strict=True):
        print(f"p{percentile:<3} {value * 1e3:8.2f} ms")
    print(f"The predictor alone takes {call * 1e6:.1f} µs a row; the rest is HTTP and JSON.")


def draw(latencies, title, path):
    """Draw how many answers take longer than some time, with the percentiles marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    ordered = np.sort(latencies) * 1e3
    slower = 1 - np.arange(len(ordered)) / len(ordered)
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.step(ordered, slower, where="post")
    for percentile in PERCENTILES:
        share = 1 - percentile / 100
        value = np.percentile(ordered, percentile)
        axes.plot(value, share, "o", color="C3")
        axes.annotate(f"  p{percentile}: {value:.2f} ms", (value, share), va="bottom")
    axes.set(
        xscale="log", yscale="log", title=title, xlabel="latency, milliseconds",
        ylabel="share of the answers that take longer",
    )  # fmt: skip
    axes.set_xlim(right=3 * ordered[-1])
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def make_model(features, clusters):
    """A fitted model, and rows to send."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(clusters, features)) * 3
    near = centers[rng.integers(clusters, size=max(20_000, 4 * clusters))]
    rows = near + rng.normal(size=near.shape)
    model = tilewise.KMeans(clusters, random_state=0, n_init=1, max_iter=20).fit(rows)
    return model, rows[:4000]


def arguments():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--serve", action="store_true", help="only serve, until Ctrl-C")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=4, help="threads that answer")
    parser.add_argument("--clients", type=int, default=4, help="processes that ask")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long they ask")
    parser.add_argument("--features", type=int, default=16, help="numbers in a row")
    parser.add_argument("--clusters", type=int, default=16, help="centres of the model")
    parser.add_argument("--plot", default=PICTURE, help="file of the picture")
    args = parser.parse_args()
    for name in ("threads", "clients", "features", "clusters"):
        if not 1 <= getattr(args, name) <= 4096:
            parser.error(f"--{name} must be from 1 to 4096")
    if not 0 < args.seconds <= 3600:
        parser.error("--seconds must be above 0 and at most 3600")
    return args


def main():
    """Serve, and unless told otherwise send rows and say how long the answers took."""
    args = arguments()
    model, rows = make_model(args.features, args.clusters)
    predictor = model.predictor()
    server, (host, port) = make_server(predictor, args.host, args.port, args.threads)
    print(
        f"Serving {predictor.n_clusters} centres of {predictor.n_features} features from "
        f"{args.threads} threads: http://{host}:{port}/label",
        flush=True,
    )
    if args.serve:
        server.run()
        print("Stopped.")
        return
    threading.Thread(target=server.run, daemon=True).start()
    latencies, wrong = load(host, port, rows, model.predict(rows), args)
    tell(latencies, wrong, args.seconds, alone(predictor, rows))
    if importlib.util.find_spec("matplotlib") is None:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    shape = f"{args.clusters} centres of {args.features} features"
    draw(latencies, f"{shape}, {args.clients} clients, {args.threads} threads", args.plot)
    print(f"Drawn: {args.plot}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
