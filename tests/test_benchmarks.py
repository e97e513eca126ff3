"""Rules of the benchmarks: what is computed from measurements, how it is shown, and that the server is what it says."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import __main__ as command
from benchmarks import checkouts, environments, figures, machine, report, roster, runner, servers, workload
from benchmarks.figures import Measurement
from benchmarks.micro import Micro
from benchmarks.page import page
from benchmarks.rate_limits import Figure, section, section_of, with_section
from benchmarks.runner import Outcome

NGINX = servers.nginx_binary()
needs_nginx = pytest.mark.skipif(NGINX is None, reason=servers.HOW_TO_INSTALL)
FAST, BASE = "tablenodes-libcurl", "raw-libcurl"


def measured(rows_per_second: float, *, cpu_ms: float = 1.0, failures: int = 0) -> Measurement:
    rows = 1000
    return Measurement(
        (rows - failures) / rows_per_second, cpu_ms * rows / 1000, rows, failures, 64, {"python": "3.11"}
    )


# figures


def test_a_failed_row_is_no_row() -> None:
    """Rows without the right answer don't count towards rows/s."""
    assert Measurement(seconds=2.0, cpu_seconds=1.0, rows=100, failures=40).rows_per_second == 30


def test_cpu_is_given_in_milliseconds_a_row() -> None:
    """CPU time a row is in milliseconds, over all rows that were asked."""
    assert Measurement(seconds=2.0, cpu_seconds=1.0, rows=100, failures=40).cpu_per_row == 10


def test_a_ratio_is_taken_within_each_round() -> None:
    """A slow phase of the machine that spans a round changes no ratio."""
    rounds = [
        {FAST: measured(500), BASE: measured(1000)},
        {FAST: measured(50), BASE: measured(100)},
        {FAST: measured(5), BASE: measured(1000)},
    ]
    assert figures.ratio(rounds, FAST, BASE) == pytest.approx(0.5)


def test_a_ratio_needs_both_in_one_round() -> None:
    """Without a round that holds both there is no ratio, rather than one across rounds."""
    assert figures.ratio([{FAST: measured(1)}, {BASE: measured(1)}], FAST, BASE) is None


def test_two_checkouts_are_compared_within_each_round() -> None:
    """By the medians: CPU as new to old, and rows a second too."""
    rounds = [((1.0, 2.0), (1.1, 2.0)), ((9.0, 9.0), (9.9, 18.0)), ((1.0, 1.0), (3.0, 2.0))]
    assert checkouts.ratios(rounds) == (pytest.approx(1.1), pytest.approx(0.5))


def test_a_median_of_nothing_is_none() -> None:
    """A contestant that was never measured has no figure."""
    assert figures.median([{}], FAST, lambda one: one.seconds) is None


# tables


def outcome(*rounds: dict[str, Measurement], **troubles: str) -> Outcome:
    return Outcome(list(rounds), {name.replace("_", "-"): text for name, text in troubles.items()})


def test_a_scenario_shows_rates_ratios_and_failures() -> None:
    """One line a contestant: rows/s, CPU ms, both ratios, rows, wrong or missing answers."""
    one = {FAST: measured(2000, cpu_ms=0.1, failures=3), BASE: measured(4000), roster.SDK: measured(100)}
    assert report.scenario_cells(outcome(one))[1] == (
        "tablenodes", "2,000", "0.100", "20.0", "0.50", "64", "1,000", "3",
    )  # fmt: skip


def test_several_rounds_are_said() -> None:
    """The rows column says in how many turns a contestant was measured."""
    one = {FAST: measured(1)}
    assert report.scenario_cells(outcome(one, one))[1][6] == "1,000 x 2"


def test_a_contestant_that_failed_is_shown_with_its_reason() -> None:
    """A contestant is never left out silently."""
    cells = report.scenario_cells(outcome(daft_prompt="not finished after 300 s"))
    assert cells[1][:2] == ("Daft prompt", "failed: not finished after 300 s")


def test_columns_are_aligned() -> None:
    """Names stand to the left, figures to the right; a long reason widens no column."""
    cells = [("", "rows/s"), ("a", "1"), ("long name", "10,000"), ("b", "failed: a very long reason")]
    assert report.aligned(cells).splitlines() == [
        "           rows/s",
        "a               1",
        "long name  10,000",
        "b          failed: a very long reason",
    ]


def test_markdown_tables_are_padded() -> None:
    """Every line of a Markdown table is as long as its head."""
    lines = report.markdown([("", "n"), ("a", "1,000"), ("bcde", "2")]).splitlines()
    assert lines == ["|      |     n |", "| ---- | ----: |", "| a    | 1,000 |", "| bcde |     2 |"]
    assert report.markdown([("", "n"), ("a", "b c")], figures=False).endswith("| --- | --- |\n| a   | b c |")


@pytest.mark.parametrize(("speed", "shown"), [(4.2, "0.0042"), (350, "0.35"), (996, "1.00"), (20_550, "20.6")])
def test_ratios_have_as_many_digits_as_they_are_worth(speed: float, shown: str) -> None:
    """A small ratio is not shown as zero, nor a large one with digits that mean nothing."""
    assert report.scenario_cells(outcome({FAST: measured(speed), BASE: measured(1000)}))[1][4] == shown


@pytest.mark.parametrize(("speed", "kept"), [(2000, "yes"), (1880, "no, missed by 6%")])
def test_a_promise_is_kept_from_its_bound_on(speed: float, kept: str) -> None:
    """Twenty times the SDK keeps the promise; a little less breaks it, and it says so."""
    one = {FAST: measured(speed), BASE: measured(4000), roster.SDK: measured(100)}
    assert report.promise_cells(outcome(one), outcome(), Micro(0.1, 1, 1, 1))[1][3] == kept


@pytest.mark.parametrize(("seconds", "kept"), [(0.2, "yes"), (0.21, "no, missed by 5%")])
def test_a_promise_may_bound_from_above(seconds: float, kept: str) -> None:
    """An import of 0.2 s keeps the promise; a longer one breaks it."""
    cells = report.promise_cells(outcome(), outcome(), Micro(seconds, 1, 1, 1))
    assert cells[-1] == ("import tablenodes, s", "at most 0.2", f"{seconds:.3f}", kept)


def test_what_was_not_measured_is_neither_kept_nor_broken() -> None:
    """Without figures a promise is left open."""
    assert report.promise_cells(outcome(), outcome(), Micro(0.1, 1, 1, 1))[1][2:] == ("-", "-")


def test_the_page_names_versions_but_no_machine() -> None:
    """The page tells processor and releases, and neither the host nor a path of the machine."""
    one = {FAST: measured(2000), BASE: measured(4000)}
    here = machine.this_machine("1.22.1")
    text = page(report.Report(here, outcome(one), outcome(one), Micro(0.1, 1, 1, 1)))
    assert here.processor in text
    assert "nginx 1.22.1" in text
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text
    assert str(runner.CHECKOUT) not in text


@pytest.mark.parametrize(("others", "told"), [(None, False), (0.1, False), (1.26, True)])
def test_the_page_says_when_the_machine_was_busy(others: float | None, told: bool) -> None:
    """Figures of a machine with other work are marked as such."""
    here = machine.this_machine("1.22.1")._replace(others=others)
    text = page(report.Report(here, outcome(), outcome(), Micro(0.1, 1, 1, 1)))
    assert ("Other programs used 1.3 cores meanwhile" in text) is told


def test_other_programs_are_what_is_left_of_the_work() -> None:
    """The cores that others used: what all cores did, less what we did, over the time that passed."""
    assert machine.Clock(100, 50, 1).others_until(machine.Clock(110, 70, 16)) == pytest.approx(0.5)
    assert machine.Clock(100, None, 1).others_until(machine.Clock(110, None, 16)) is None


def test_the_work_of_all_cores_is_read_from_the_system() -> None:
    """Idle and waiting time is no work; stolen time is."""
    tick = os.sysconf("SC_CLK_TCK")
    assert machine.worked("cpu  1 2 4 1000 1000 8 16 32 5 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n") == 63 / tick
    assert machine.now().ours > 0


def test_the_processor_is_read_from_the_system() -> None:
    """The model's name is the first one that is told."""
    assert machine.model_name("processor\t: 0\nmodel name\t: AMD EPYC 7: x\nmodel name\t: other\n") == "AMD EPYC 7: x"
    assert machine.model_name("Hardware : none\n") == ""


# contestants


def test_every_contestant_has_its_program_and_its_environment() -> None:
    """The roster names modules that exist and environments whose releases are pinned."""
    for one in roster.ROSTER:
        assert (runner.CHECKOUT / (one.module.replace(".", "/") + ".py")).is_file()
        assert one.environment is None or all("==" in line for line in roster.ENVIRONMENTS[one.environment])


def test_those_that_ratios_are_taken_of_run_in_every_round() -> None:
    """tablenodes, with and without a journal, the SDK and the limit are paired."""
    assert {one.name for one in roster.ROSTER if one.paired} == {
        roster.TABLENODES,
        roster.JOURNAL,
        roster.SDK,
        roster.LIMIT,
    }


def test_only_what_is_named_is_chosen() -> None:
    """Names choose contestants, in the roster's order; none chooses all."""
    assert [one.name for one in roster.chosen([BASE, FAST])] == [FAST, BASE]
    assert roster.chosen([]) == roster.ROSTER


def test_reviews_are_the_same_for_everyone() -> None:
    """A seed gives the same texts each time, all of one length, each different."""
    texts = workload.reviews(300, 7)
    assert texts == workload.reviews(300, 7)
    assert texts != workload.reviews(300, 8)
    assert {len(text) for text in texts} == {workload.REVIEW_LENGTH}
    assert len(set(texts)) == 300


def test_the_placeholder_asks_the_same_question() -> None:
    """What tablenodes renders is what the others are given."""
    assert workload.TEMPLATE.replace("{{ review }}", "Lovely.") == workload.prompt("Lovely.")


def test_contestants_see_no_keys_and_no_proxies() -> None:
    """Neither the user's keys nor a proxy reaches a contestant; telemetry is off."""
    private = {"OPENAI_API_KEY": "k", "https_proxy": "p", "HTTP_PROXY": "p", "LANGSMITH_TRACING": "true"}
    given = runner.clean_environment(private | {"PATH": "/bin"})
    assert not private.keys() & given.keys()
    assert given["PATH"] == "/bin"
    assert given["DO_NOT_TRACK"] == "true"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_figures_are_the_last_line_that_a_contestant_prints() -> None:
    """A library that prints something itself disturbs nothing."""
    versions = {f"package-{number}": "1.0.0" for number in range(50)}
    line = json.dumps({"seconds": 2, "cpu_seconds": 1, "rows": 10, "failures": 0, "versions": versions})
    assert runner.run(python(f"print('hello'); print('''{line}''')")).rows_per_second == 5


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no such option')", "no such option"),
        ("raise SystemExit(3)", "ended with 3"),
        ("import os; raise SystemExit('in ' + os.getcwd() + '/x')", "^in \\./x"),
        ("print('done')", "printed no figures"),
        ("print('[1]')", "printed no figures"),
        ("", "printed no figures"),
    ],
)
def test_a_contestant_that_fails_says_why(code: str, reason: str) -> None:
    """An error is a result with a reason."""
    with pytest.raises(runner.Failed, match=reason):
        runner.run(python(code))


def test_a_contestant_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not finish is stopped, and that is said."""
    monkeypatch.setattr(runner, "PATIENCE", 0.2)
    with pytest.raises(runner.Failed, match=r"not finished after 0\.2 s"):
        runner.run(python("import time; time.sleep(60)"))


@pytest.mark.parametrize("limit", [512, None])
def test_a_contestant_starts_with_its_limit_of_open_files(limit: int | None) -> None:
    """The soft limit of open files is the one asked for, or the highest that is allowed."""
    code = (
        "import json, resource; soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "print(json.dumps({'seconds': 1, 'cpu_seconds': 0, 'rows': soft, 'failures': 0}))"
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert runner.run(python(code), limit).rows == (limit or min(hard, 65_536))


def contestant(name: str, *, paired: bool) -> roster.Contestant:
    return roster.Contestant(name, name, None, 10, 10, paired=paired)


def test_a_contestant_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is told once and takes part in no later round; the others go on."""
    tried = []

    def measure(one: roster.Contestant, scenario: runner.Scenario, seed: int) -> Measurement:
        tried.append(one.name)
        if one.name == "bad":
            raise runner.Failed("broken")
        return measured(1)

    monkeypatch.setattr(runner, "_measure", measure)
    scenario = runner.Scenario("http://127.0.0.1:1/v1", lambda _: 1, lambda _: 1, rounds=3, other_rounds=1)
    three = [contestant("bad", paired=True), contestant("good", paired=True), contestant("other", paired=False)]
    found = runner.carry_out(scenario, three)
    assert tried == ["bad", "good", "other", "good", "good"]
    assert found.troubles == {"bad": "broken"}
    assert [sorted(one) for one in found.rounds] == [["good", "other"], ["good"], ["good"]]


# environments


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment is kept as long as its requirements stay, and git does not see it."""
    made = []

    def create(home: Path, **_: object) -> None:
        made.append(home)
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "bin" / "python").symlink_to(sys.executable) if not (home / "bin" / "python").exists() else None

    def install(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(environments.venv, "create", create)
    monkeypatch.setattr(environments.subprocess, "run", install)
    first = environments.python_of("sdk", ["openai==1"], tmp_path)
    assert environments.python_of("sdk", ["openai==1"], tmp_path) == first
    assert len(made) == 1
    environments.python_of("sdk", ["openai==2"], tmp_path)
    assert len(made) == 2
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's own error is the reason, and the half-made environment is not kept."""

    def install(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, "", "WARNING: old\nERROR: no such release\n")

    monkeypatch.setattr(environments.venv, "create", lambda home, **_: home.mkdir())
    monkeypatch.setattr(environments.subprocess, "run", install)
    with pytest.raises(environments.NotInstalled, match="ERROR: no such release"):
        environments.python_of("sdk", ["openai==0"], tmp_path)
    assert not list(tmp_path.rglob("requirements.txt"))


# the command and the server


def test_without_nginx_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No nginx is exit code 2, with the command that installs it."""
    monkeypatch.setattr(servers, "nginx_binary", lambda: None)
    assert command.main([]) == 2
    assert "sudo apt-get install nginx-light" in capsys.readouterr().err


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[runner.Scenario, tuple[str, ...]]]:
    """Replaces measuring by canned figures; gives what was to be measured. The page goes to a folder of the test."""
    asked = []

    def carry_out(scenario: runner.Scenario, contestants: tuple[roster.Contestant, ...], _: object) -> Outcome:
        asked.append((scenario, tuple(one.name for one in contestants)))
        return outcome({one.name: measured(100) for one in contestants}, daft_prompt="broken")

    monkeypatch.setattr(servers, "nginx_binary", lambda: "nginx")
    monkeypatch.setattr(servers, "nginx_version", lambda _: "1.22.1")
    monkeypatch.setattr(servers, "canned_servers", lambda _: contextlib.nullcontext(servers.Addresses("p", "s")))
    monkeypatch.setattr(runner, "carry_out", carry_out)
    monkeypatch.setattr(runner, "limit_open_files", lambda _: None)
    monkeypatch.setattr(command, "_micro", lambda: Micro(0.1, 1, 1, 1))
    monkeypatch.setattr(runner, "CHECKOUT", tmp_path)
    monkeypatch.setattr(command, "PAGE", tmp_path / "docs" / "benchmarks.md")
    return asked


def test_a_run_of_everything_prints_and_writes_the_page(canned: list, capsys: pytest.CaptureFixture[str]) -> None:
    """All contestants against both servers; the tables on the terminal and the page; 1 as one of them failed."""
    assert command.main([]) == 1
    everyone = tuple(one.name for one in roster.ROSTER)
    assert [names for _, names in canned] == [everyone, everyone]
    printed = capsys.readouterr().out
    assert "A server that answers after 1 s" in printed
    assert "openai SDK, threads" in printed
    assert "import seconds" in printed
    assert command.PAGE.read_text().startswith("# How fast it is")


def test_the_section_about_rate_limits_is_put_in_and_kept() -> None:
    """Measured by a command of its own, it is part of the page, once, whoever writes it."""
    plain = "# How fast it is\n\n## What we promise\n\nMuch.\n"
    new = section([Figure("says nothing", 40.0, "simulated", 20, 0.98, 1.01, 0.0123, 0.02)])
    written = with_section(plain, new)
    assert section_of(written) == new
    assert "| says nothing | 40 | simulated | 20 | 1.01 | 0.98 | 1.2% | 2.0% |" in written
    assert with_section(written, new) == written
    assert with_section(plain, section_of(written)) == written
    assert with_section(plain, section_of(plain)) == plain


@pytest.mark.parametrize("arguments", [["--no-write"], ["--quick"], ["--only", "raw-libcurl"]])
@pytest.mark.usefixtures("canned")
def test_a_run_of_less_leaves_the_page_alone(arguments: list[str]) -> None:
    """The page only ever shows everyone."""
    command.main(arguments)
    assert not command.PAGE.exists()


def test_rows_are_shared_out_in_proportion(canned: list) -> None:
    """The fastest get the rows that were asked for, slower ones their part, the same number in flight."""
    command.main(["--quick", "--rows", "20000"])
    (prompt, names), (slow, _) = canned
    fastest, _, sdk = (one for one in roster.ROSTER if one.name in {FAST, "tablenodes-requests", roster.SDK})
    assert names == (FAST, roster.SDK, BASE)
    assert (prompt.rows(fastest), prompt.rows(sdk)) == (10_000, 500)
    assert (prompt.concurrency(fastest), prompt.concurrency(sdk)) == (64, 64)
    assert (slow.rows(fastest), slow.concurrency(fastest)) == (5_000, 2_000)


@pytest.mark.parametrize("arguments", [["--only", "nobody"], ["--rows", "0"], ["--rows", "many"]])
def test_wrong_arguments_are_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is no contestant's, and a number of rows that is none, are exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert "usage:" in capsys.readouterr().err


def test_the_canned_answer_is_quoted_for_nginx() -> None:
    """Quotes and backslashes of the answer arrive as they are; the servers listen on loopback only."""
    config = servers.nginx_config(Path("/scratch"), (1001, 1002), b'{"it\'s": "a \\\\ b"}')
    assert config.count("""return 200 '{"it\\'s": "a \\\\\\\\ b"}';""") == 4
    assert config.count("listen 127.0.0.1:") == config.count("listen ") == 2


def ask(base_url: str) -> tuple[int, bytes]:
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        body = workload.request_body("Lovely.")
        headers = {"Content-Type": "application/json", "Authorization": "Bearer test"}
        connection.request("POST", f"{address.path}/chat/completions", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@needs_nginx
def test_both_servers_send_the_canned_answer_and_one_of_them_late() -> None:
    """The slow server differs in nothing but the second that it waits."""
    with servers.canned_servers(NGINX or "") as addresses:
        assert ask(addresses.prompt) == (200, workload.completion())
        start = time.monotonic()
        assert ask(addresses.slow) == (200, workload.completion())
        assert time.monotonic() - start > servers.LATENCY * 0.9


@needs_nginx
def test_a_configuration_that_nginx_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx's own words are in the error."""
    monkeypatch.setattr(servers, "nginx_config", lambda *_: "nonsense;")
    with pytest.raises(RuntimeError, match="nonsense"), servers.canned_servers(NGINX or ""):
        pass


@needs_nginx
@pytest.mark.parametrize("concurrency", [8, 1000])
def test_the_libcurl_loop_answers_every_row(concurrency: int) -> None:
    """The limit is an honest one: each row is sent and its answer received, in either way of driving libcurl."""
    job = {"rows": 2000, "warm_up": 10, "concurrency": concurrency, "seed": 1}
    with servers.canned_servers(NGINX or "") as addresses:
        arguments = json.dumps({"base_url": addresses.prompt, **job})
        found = runner.run([sys.executable, "-m", "benchmarks.contestants.raw_libcurl", arguments])
    assert (found.rows, found.failures) == (2000, 0)
    assert found.cpu_seconds > 0
