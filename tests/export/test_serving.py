"""examples/serving.py: rows over HTTP, one predictor, several threads."""

import concurrent.futures
import http.client
import importlib.util
import json
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).parents[2] / "examples" / "serving.py"
pytest.importorskip("waitress")
if not PROGRAM.is_file():
    pytest.skip("the examples are not beside the tests", allow_module_level=True)


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("serving", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(program):
    return program.make_model(16, 16)[0]


@pytest.fixture(scope="module")
def predictor(model):
    return model.predictor()


def started(*options, folder, **more):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *options], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Host and port of the program, which serves in a process of its own."""
    child = started("--serve", "--port", "0", "--threads", "3", folder=tmp_path_factory.mktemp("x"))
    said = child.stdout.readline()
    found = re.search(r"http://([\d.]+):(\d+)/label", said)
    assert found, said + child.communicate()[1]
    yield found[1], int(found[2])
    assert child.poll() is None
    child.terminate()
    child.communicate()


def asked(connection, body, method="POST", path="/label"):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_clients_share_one_predictor(address, model):
    rows = np.random.default_rng(1).normal(size=(300, 16))
    distances = model.transform(rows).min(axis=1)

    def client(part):
        connection = http.client.HTTPConnection(*address, timeout=60)
        found = [asked(connection, json.dumps(row)) for row in rows[part].tolist()]
        connection.close()
        return found

    parts = [slice(start, start + 50) for start in range(0, 300, 50)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = [answer for answers in pool.map(client, parts) for answer in answers]
    assert {status for status, _ in found} == {200}
    assert [told["label"] for _, told in found] == model.predict(rows).tolist()
    np.testing.assert_allclose([told["distance"] for _, told in found], distances, rtol=1e-12)


def test_whole_numbers_are_rows(address, model):
    connection = http.client.HTTPConnection(*address, timeout=60)
    row = [0] * 14 + [-2, 10**26]
    status, told = asked(connection, f" {row} ".encode())
    assert (status, told["label"]) == (200, model.predict([list(map(float, row))])[0])
    connection.close()


def a_row(*last):
    """A row of sixteen, in JSON, that ends with some values."""
    return f"[{', '.join([*['0'] * (16 - len(last)), *last])}]"


BAD_ROWS = (
    "[1, 2]", a_row(*["0"] * 17), "[]", "5", f"[{a_row()}]", a_row("NaN"), a_row("-Infinity", "1"),
    a_row("1e999"), "null", a_row('"x"'), '{"a": 1}', a_row("null"), "[[1], [2, 3]]",
)  # fmt: skip


@pytest.mark.parametrize("body", BAD_ROWS)
def test_a_bad_row_is_refused_with_the_message_of_the_library(address, predictor, body):
    connection = http.client.HTTPConnection(*address, timeout=60)
    status, told = asked(connection, body)
    assert status == 400
    with pytest.raises((TypeError, ValueError)) as caught:
        predictor.nearest(np.asarray(json.loads(body, parse_int=float)))
    assert told == {"error": str(caught.value)}
    # The connection and the server are as good as before.
    assert asked(connection, a_row())[0] == 200
    connection.close()


@pytest.mark.parametrize("body", [b"", b"[1, 2", b"\xff\xfe", b"1" * 5000, b"[" * 100_000])
def test_what_is_no_row_at_all(address, body):
    connection = http.client.HTTPConnection(*address, timeout=60)
    status, told = asked(connection, body)
    assert status == 400
    assert told["error"]
    connection.close()


def test_other_paths_and_methods(address):
    connection = http.client.HTTPConnection(*address, timeout=60)
    assert asked(connection, None, "GET")[0] == 405
    assert asked(connection, b"[1, 2, 3]", path="/other")[0] == 404
    connection.close()


def test_a_body_without_end_is_not_kept(address, program):
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.putrequest("POST", "/label")
    connection.putheader("Content-Length", str(100 * program.LARGEST_BODY))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_percentiles_and_picture(program, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    program.tell(np.arange(1, 101) / 1000, 3, 2.0, 1e-6)
    said = capsys.readouterr().out
    assert "100 answers, 50 a second; 3 labels differ" in said
    assert re.search(r"^p50 +50\.50 ms\np95 +95\.05 ms\np99 +99\.01 ms$", said, re.MULTILINE)
    program.draw(np.arange(1, 101) / 1000, "a title", tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_program_measures_and_draws(tmp_path):
    options = ("--port", "0", "--seconds", "0.5", "--clients", "2", "--threads", "2")
    child = started(*options, folder=tmp_path)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    assert re.search(r"^Serving 16 centres of 16 features from 2 threads: http://\S+/label$", out,
                     re.MULTILINE)  # fmt: skip
    assert re.search(r"^[\d,]+ answers, .*; 0 labels differ from predict\.$", out, re.MULTILINE)
    assert [line[:3] for line in out.splitlines() if line.startswith("p")] == ["p50", "p95", "p99"]
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert (tmp_path / "serving.png").is_file() == drawn


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("options", "code"), [(("--serve",), 0), (("--seconds", "600", "--clients", "2"), 1)]
)
def test_ctrl_c_stops_it(tmp_path, options, code):
    # A test runner in the background hands its children an ignored SIGINT.
    child = started(
        "--port", "0", *options, folder=tmp_path, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert child.stdout.readline().startswith("Serving ")
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(2)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert "Traceback" not in err
    assert (out + err).endswith("Stopped.\n")


def test_help(tmp_path):
    child = started("--help", folder=tmp_path)
    out, err = child.communicate(timeout=100)
    assert child.returncode == 0, err
    assert "--serve" in out


def test_without_the_server_it_says_what_to_install(program, predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(SystemExit, match=r'pip install "tilewise\[serving\]"'):
        program.make_server(predictor, "127.0.0.1", 0, 1)


def test_a_port_that_is_taken(program, predictor, address):
    with pytest.raises(SystemExit, match="Cannot listen on"):
        program.make_server(predictor, *address, 1)
