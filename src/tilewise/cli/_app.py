"""The command group, and the one place where errors become a line and an exit code."""

import contextlib
import sys
import traceback

import click

from .. import __version__
from .._text import first_line, printable
from . import _bench, _explain, _export, _fit, _info, _predict, _report, _tune
from ._errors import CommandError, ExitCode, ReaderGone
from ._options import debug_option, epilog
from ._streams import checked_streams

COMMANDS = (
    _info.info, _explain.explain, _fit.fit, _predict.predict, _export.export, _bench.bench,
    _report.report, _tune.tune,
)  # fmt: skip


class Tool(click.Group):
    """A group of commands. It shows a traceback only with --debug, and returns our exit codes."""

    def main(self, args=None, prog_name="tilewise", standalone_mode=True, **extra):
        """Run the command line; leave the process or, not standalone, return the exit code."""
        settings = {"debug": False}
        code = int(self._guarded(args, prog_name, settings, extra))
        if standalone_mode:
            sys.exit(code)
        return code

    def run(self, argv=None):
        """Run the command line and return the exit code."""
        return self.main(argv, standalone_mode=False)

    def _guarded(self, args, prog_name, settings, extra):
        try:
            with checked_streams():
                result = super().main(
                    args, prog_name=prog_name, standalone_mode=False, obj=settings, **extra
                )
            return result if isinstance(result, int) else ExitCode.OK
        except (click.Abort, KeyboardInterrupt):
            return _report("interrupted", ExitCode.INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:
            return _print(error.ctx.get_help(), ExitCode.USAGE)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx is not None else prog_name
            message = _one_line(error.format_message()).rstrip(".")
            return _report(f"{message} (see {path} --help)", ExitCode.USAGE)
        except click.ClickException as error:
            return _report(_one_line(error.format_message()), ExitCode.USAGE)
        except ReaderGone as error:
            return error.code
        except CommandError as error:
            self._trace(settings)
            return _report(str(error), error.code)
        except MemoryError as error:
            self._trace(settings)
            return _report(f"not enough memory: {first_line(error)}", ExitCode.INTERNAL)
        except Exception as error:
            self._trace(settings)
            what = f"{type(error).__name__}: {first_line(error)}"
            return _report(f"unexpected {what} (--debug shows where)", ExitCode.INTERNAL)

    @staticmethod
    def _trace(settings):
        if settings["debug"]:
            for line in traceback.format_exc().splitlines():
                click.echo(printable(line), err=True)


# The longest error that is shown: names and contents of files may have any length.
_MOST_SHOWN = 2000


def _report(message, code):
    return _print(f"tilewise: error: {printable(message, _MOST_SHOWN)}", code)


def _one_line(message):
    # click puts line ends into lists of choices.
    return " ".join(message.split())


def _print(text, code):
    # Where standard error fails too, the exit code has to do.
    with contextlib.suppress(CommandError), checked_streams():
        click.echo(text, err=True)
    return code


@click.group(
    "tilewise",
    cls=Tool,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        "tilewise info",
        "tilewise fit photo.npy -k 64 --seed 0",
        "tilewise predict photo.model.npz other.npy --json",
    ),
)
@click.version_option(__version__, prog_name="tilewise", message="%(prog)s %(version)s")
@debug_option
@click.pass_context
def app(context):
    """Exact, reproducible K-Means, planned for the caches of this machine."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)


for command in COMMANDS:
    app.add_command(command)
