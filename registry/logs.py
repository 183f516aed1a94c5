"""Logs: one line an event on standard error, for people on a terminal, JSON elsewhere."""

import logging
import sys
from pathlib import Path

import structlog

log = structlog.get_logger()


def set_up_logs(process: str, path: Path | None = None) -> None:
    """Have every line of this process bear its name and a time in UTC.

    With a path they are appended to that file instead.
    """
    file = sys.stderr if path is None else path.open("a")
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if file.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # writes a line and its end at once: processes that share a file do not mix them up
        logger_factory=structlog.WriteLoggerFactory(file),
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=logging.WARNING, handlers=[_PassOn()])


class _PassOn(logging.Handler):
    """Hands what libraries log to our log, so that every line has one form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record of the standard library."""
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
