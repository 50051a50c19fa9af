"""The worker process as Qt runs it: bytes in, bytes out, an end; nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import qt

from .pipe_process import end_group


class QtProcess:
    """A process that talks over its standard streams.

    Parameters
    ----------
    program : str
    arguments : sequence of str
    environment : mapping
        All of the process's environment variables.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._process = qt.QProcess()
        self._program, self._arguments = program, list(arguments)
        variables = qt.QProcessEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._on_ended: Callable[[int], None] | None = None

    def start(
        self,
        on_output: Callable[[bytes], None],
        on_log: Callable[[bytes], None],
        on_ended: Callable[[int], None],
    ) -> None:
        """Start it.

        Parameters
        ----------
        on_output, on_log : callable
            Told bytes of standard output and standard error as they come.
        on_ended : callable
            Told the exit status once, -1 if the process crashed, was killed or did not start.
        """
        process, self._on_ended = self._process, on_ended
        process.readyReadStandardOutput.connect(
            lambda *_args: on_output(_bytes(process.readAllStandardOutput()))
        )
        process.readyReadStandardError.connect(
            lambda *_args: on_log(_bytes(process.readAllStandardError()))
        )
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed)
        process.start(self._program, self._arguments)

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input; Qt sends them while the event loop runs."""
        self._process.write(data)

    def close_input(self) -> None:
        """Tell it that nothing more comes."""
        self._process.closeWriteChannel()

    def kill(self) -> None:
        """End it at once, and all that it started."""
        if self.is_running:
            end_group(int(self._process.processId()))
            self._process.kill()

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process.state() != qt.QProcess.NotRunning

    def wait_for_end(self, milliseconds: int) -> bool:
        """Wait until it has ended: only where the application itself ends."""
        return not self.is_running or self._process.waitForFinished(milliseconds)

    def _finished(self, code: int, *_status: object) -> None:
        # Qt 5 has two signals of this name, and PythonQt takes the one without the status.
        crashed = self._process.exitStatus() != qt.QProcess.NormalExit
        self._tell_end(-1 if crashed else code)

    def _failed(self, error: object) -> None:
        if error == qt.QProcess.FailedToStart:
            self._tell_end(-1)

    def _tell_end(self, code: int) -> None:
        on_ended, self._on_ended = self._on_ended, None
        if on_ended is not None:
            on_ended(code)


def _bytes(data: qt.QByteArray) -> bytes:
    return bytes(data.data())
