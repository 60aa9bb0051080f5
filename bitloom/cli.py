# SPDX-License-Identifier: Apache-2.0
"""The command line.

Exit codes: 0 done; 1 a verification failed; 2 wrong input; 3 a fault of bitloom's own; 128 + N ended by signal N (130: Ctrl-C, 143: SIGTERM).
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from bitloom.errors import FAILED, USAGE, UsageError, VerificationError
from bitloom.hw.errors import BitloomError
from bitloom.hw.process import ended_by_signals
from bitloom.text import plain_where_needed, printable
from bitloom.version import __version__

# What the machine may refuse anywhere; where a stage is at work, it says more (bitloom/flow.py).
MACHINES_FAULT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
NO_PATH = {errno.ENAMETOOLONG, errno.ELOOP}

app = typer.Typer(
    name="bitloom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From text to verified RTL: train, export, build, verify and report one encoder.",
)

RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, for example runs/quickstart.")]
BackendArg = Annotated[Literal["rtl", "hls4ml", "finn"], typer.Option("--backend", help="Which hardware.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again even if nothing changed.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"bitloom {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error too.")] = False,
) -> None:
    """Options that stand before the command; `main` reads --debug itself, so that it may stand anywhere."""


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `bitloom recipes` lists.")],
    data: Annotated[Path | None, typer.Option(help="Folder with the data set; without it the recipe's source.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<recipe name> if not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key.")] = None,
    force: Force = False,
) -> None:
    """All stages in order; those that are done and whose inputs are unchanged are skipped."""
    from bitloom.display import Display
    from bitloom.flow import run_flow
    from bitloom.recipe import Recipe, find
    from bitloom.runfolder import RunFolder

    parsed = Recipe.load(find(recipe), overrides)
    folder = RunFolder.create(out or Path("runs") / parsed.name, parsed, force=force)
    with folder.locked(), Display() as display:
        folder.adopt(parsed, data)
        run_flow(folder, force=force, watcher=display.watcher)
    display.summary(folder.path)


@app.command()
def search(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `bitloom recipes` lists.")],
    data: Annotated[Path | None, typer.Option(help="Folder with the data set; without it the recipe's source.")] = None,
    board: Annotated[str | None, typer.Option(help="Board that the hardware must fit; the recipe's if not given. `none` takes it back.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<recipe name>-search if not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key.")] = None,
    train: Annotated[bool, typer.Option("--run/--no-run", help="Run the chosen recipe too (done if not said).")] = True,
    force: Force = False,
) -> None:
    """Bits of each layer, or a cell, that are best for the task on a board; then all stages of the recipe that has them."""
    from bitloom.display import Display
    from bitloom.flow import run_flow, run_stage
    from bitloom.recipe import Recipe, find
    from bitloom.runfolder import RunFolder
    from bitloom.stage import STAGES, typed
    from bitloom.stages.search import chosen_recipe

    parsed = Recipe.load(find(recipe), overrides)
    folder = RunFolder.create(out or Path("runs") / f"{parsed.name}-search", parsed, force=force)
    with folder.locked(), Display() as display:
        folder.adopt(parsed, data)
        run_stage(folder, "search", force=force, options=typed(STAGES["search"], {"board": board}), watcher=display.watcher)
        if train:
            folder.adopt(chosen_recipe(folder.stage("search")), data)
            run_flow(folder, force=force, watcher=display.watcher)
    if train:
        display.summary(folder.path)


def _one_stage(path: Path, verb: str, force: bool, backend: str = "rtl", waves: bool = False, **options: object) -> None:
    """The stage of a command; after one of a backend, a report that was made before is made again with it."""
    from bitloom.display import Display
    from bitloom.flow import CORE, is_current, run_stage
    from bitloom.runfolder import RunFolder
    from bitloom.stage import stage_of, typed

    stage = stage_of(verb, backend)
    texts = typed(stage, options)
    folder = RunFolder.open(path)
    with folder.locked(), Display() as display:
        run_stage(folder, stage.name, force=force, waves=waves, options=texts, watcher=display.watcher)
        if stage.name not in CORE and folder.is_done("report") and is_current(folder, "verify"):
            run_stage(folder, "report", watcher=display.watcher)
    if verb == "report":
        display.summary(folder.path)


@app.command()
def train(run: RunArg, force: Force = False) -> None:
    """Train the float and the quantized model."""
    _one_stage(run, "train", force)


@app.command()
def export(run: RunArg, force: Force = False) -> None:
    """Freeze the integer graph and integer.onnx; check that Brevitas, golden model and ONNX Runtime agree."""
    _one_stage(run, "export", force)


@app.command()
def build(
    run: RunArg,
    force: Force = False,
    backend: BackendArg = "rtl",
    board: Annotated[str | None, typer.Option(help="Board: the fastest folding that fits it; for hls4ml and finn, its part. `none` takes it back.")] = None,
    tokens: Annotated[int | None, typer.Option(help="finn: the one sentence length to build for.")] = None,
) -> None:
    """Fold the graph for the recipe's target and write the RTL, or another backend's project."""
    _one_stage(run, "build", force, backend, board=board, tokens=tokens)


@app.command()
def verify(
    run: RunArg,
    force: Force = False,
    backend: BackendArg = "rtl",
    rtl: Annotated[bool, typer.Option("--rtl", help="The Verilog that the backend's tool made.")] = False,
    waves: Annotated[bool, typer.Option("--waves", help="Leave a waveform in RUN/verify.")] = False,
) -> None:
    """Simulate the hardware and compare every tensor with the golden model, and the cycles with the prediction."""
    if backend != "rtl" and waves:
        raise UsageError(f"verify: got --waves with --backend {backend}, must be with the RTL backend; leave one out")
    if backend != "hls4ml" and rtl:
        raise UsageError(f"verify: got --rtl with --backend {backend}, must be with hls4ml (the RTL backend always simulates RTL); leave it out")
    _one_stage(run, "rtl" if rtl else "verify", force, backend, waves)


@app.command()
def synth(
    run: RunArg,
    backend: BackendArg = "rtl",
    force: Force = False,
    board: Annotated[str | None, typer.Option(help="rtl: the board; the one that it was built for if not given.")] = None,
    clock: Annotated[float | None, typer.Option(help="rtl: MHz of the encoder; the board's own clock if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="rtl: of the placer, 1 if not given; another one gives another Fmax.")] = None,
    cosim: Annotated[bool | None, typer.Option("--cosim/--no-cosim", help="hls4ml: C and RTL co-simulation too.")] = None,
    ip: Annotated[bool | None, typer.Option("--ip/--no-ip", help="hls4ml: export an IP (done if not said).")] = None,
) -> None:
    """The RTL for a board, with open tools down to a bitstream; or a backend's project with its vendor tool."""
    if backend == "finn":
        raise UsageError("synth: got --backend finn, must be rtl or hls4ml; with Vivado, `bitloom build --backend finn` goes on by itself")
    _one_stage(run, "synth", force, backend, board=board, clock=clock, seed=seed, cosim=cosim, ip=ip)


@app.command()
def hil(
    run: RunArg,
    target: Annotated[str | None, typer.Option(help="sim, sim:loaded (its memory holds the weights), serial:/dev/ttyUSB0 or pynq://HOST[:PORT].")] = None,
    sentences: Annotated[str | None, typer.Option(help="How many, or all.")] = None,
) -> None:
    """Send development sentences to a board, or a simulated one; check every answer and cycle count."""
    _one_stage(run, "hil", True, target=target, sentences=sentences)


@app.command()
def bench(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="quantization or compression: every method of it; or pretrained: 6x384, 8 to 1 bits.")],
    data: Annotated[Path | None, typer.Option(help="Folder with the data set; without it the recipes' source.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the rows' runs and of the table; runs/bench-TABLE if not given.")] = None,
    rows: Annotated[list[str] | None, typer.Option("--rows", metavar="ROW", help="A row of the table, or several; all if not given.")] = None,
    board: Annotated[str, typer.Option(help="Board whose block RAMs and DSPs are counted.")] = "ulx3s_85f",
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key of all rows.")] = None,
) -> None:
    """Train, build and verify many methods, and write one table of them; rows that are done are not run again."""
    from bitloom.bench import bench as run_rows
    from bitloom.display import Display

    with Display() as display:
        print(run_rows(table, rows or [], data, out or Path("runs") / f"bench-{table}", overrides or [], board, display.watcher, display.line))


@app.command()
def recipes() -> None:
    """The recipes that come with bitloom: `bitloom run NAME` runs one."""
    from bitloom.display import show_recipes

    show_recipes()


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, or a name that `bitloom recipes` lists.")],
    board: Annotated[str | None, typer.Option(help="A board; all of them if not given.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key.")] = None,
) -> None:
    """Before any training: sizes, foldings, cycles and resources for the recipe's goal and on boards, from the shape and the bits alone."""
    from bitloom.display import show_plan
    from bitloom.hw.board import Board, boards
    from bitloom.hw.plan.table import plan as plan_graph
    from bitloom.recipe import Recipe, find
    from bitloom.untrained import untrained

    parsed = Recipe.load(find(recipe), overrides)
    wanted = [Board.load(board)] if board else list(boards().values())
    graph, told = untrained(parsed)
    show_plan(graph, plan_graph(graph, wanted, parsed.hardware, clock_mhz=parsed.hardware.clock_mhz), told)


@app.command()
def boards() -> None:
    """The boards that --board knows."""
    from bitloom.display import show_boards

    show_boards()


@app.command()
def report(run: RunArg, force: Force = False) -> None:
    """Write report.json and report.html."""
    _one_stage(run, "report", force)


@app.command()
def predict(
    run: RunArg,
    sentence: Annotated[str, typer.Argument(help="The sentence, in quotes.")],
    pair: Annotated[str | None, typer.Option(help="The second sentence of a pair.")] = None,
    on: Annotated[Literal["golden", "rtl"], typer.Option(help="Golden model or simulated hardware.")] = "golden",
) -> None:
    """Label and logits of one sentence."""
    from bitloom.inference import predict as predict_one
    from bitloom.runfolder import RunFolder

    for line in predict_one(RunFolder.open(run), sentence, pair, on=on).lines():
        print(printable(line))


@app.command()
def doctor() -> None:
    """Which tools are there, what each is needed for, and how to install it."""
    from bitloom.display import show_tools

    show_tools()


def main(argv: list[str] | None = None) -> None:
    """Entry point: errors that a user can fix become one line on stderr and an exit code."""
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv
    plain_where_needed()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns when a simulator is forked
    try:
        with ended_by_signals():
            app(args=[a for a in argv if a != "--debug"], prog_name="bitloom")
    except BitloomError as error:
        if debug:
            traceback.print_exc()
        _say(str(error))
        sys.exit(FAILED if isinstance(error, VerificationError) else USAGE)
    except OSError as error:
        if error.errno not in MACHINES_FAULT | NO_PATH:
            sys.exit(_unexpected(error, debug))
        if debug:
            traceback.print_exc()
        must = "a path that the file system takes; check it" if error.errno in NO_PATH else "writable, with room; free some or use another folder"
        _say(f"{error.filename or 'file system'}: got '{os.strerror(error.errno)}', must be {must}")
        sys.exit(USAGE)
    except Exception as error:
        sys.exit(_unexpected(error, debug))


def _say(message: str) -> None:
    for line in message.split("\n"):
        print(f"bitloom: {printable(line)}", file=sys.stderr)


def _unexpected(error: Exception, debug: bool) -> int:
    """A fault of ours: one line, and the traceback in a file to send in."""
    if debug:
        traceback.print_exc()
    try:
        with tempfile.NamedTemporaryFile("w", prefix="bitloom-", suffix=".log", delete=False) as log:
            log.write(f"bitloom {__version__}, arguments {sys.argv[1:]}\n{traceback.format_exc()}")
        kept = log.name
    except OSError:  # no room for it either
        kept = "what --debug prints"
    reason = (str(error).splitlines() or [""])[0]
    _say(f"got an unexpected {type(error).__name__} ({reason}), must not happen; please report it with {kept}")
    return 3
