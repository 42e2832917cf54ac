"""Serve the page on this machine, and on no other: 127.0.0.1, no share, no telemetry, uploads that are gone afterwards.

Input: what builds the page. Output: a server that runs until the block ends.
"""

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from xmodal.errors import UserError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # by which a browser may ask; another site's own name may be made to lead here, too
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # what is there; nothing is fetched
FIXED = ("ui-monospace", "monospace")


def require_free(port: int) -> None:
    """Raise `UserError` where something listens at this port already, or nobody may.

    Example:
        require_free(7860)
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise _taken(port, error) from None


@contextmanager
def served(build: Callable[[], Any], port: int, most_mb: int = 50) -> Iterator[str]:
    """Build the page and serve it; the block has its address, and ends the server.

    Args:
        build: makes gradio's `Blocks`; called when uploads have their folder.
        port: of 127.0.0.1.
        most_mb: the largest upload, MB.

    Raises:
        UserError: the port is in use.

    Example:
        with served(lambda: build_page(models), 7860) as address:
            print(address)
    """
    with tempfile.TemporaryDirectory(prefix="xmodal-app-", ignore_cleanup_errors=True) as uploads:
        _set_environment(uploads)
        import gradio  # after the environment is set: it looks there when it is imported
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        page = build()
        theme = gradio.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONT, font_mono=FIXED)
        try:
            _, address, _ = page.launch(
                server_name=HOST, server_port=port, share=False, inbrowser=False, prevent_thread_lock=True, quiet=True,
                max_file_size=f"{most_mb}mb", allowed_paths=[uploads], blocked_paths=[], root_path="",
                theme=theme,
                css=resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8"),
                footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False,
                mcp_server=False, show_error=True, num_workers=0,
                app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=[*NAMES])]},
            )  # fmt: skip
        except OSError as error:
            raise _taken(port, error) from None
        try:
            yield address
        finally:
            page.close(verbose=False)


def end_on_signals() -> None:
    """Let a closed terminal and `kill` end the command as Ctrl-C does, so that what it keeps is taken away.

    A terminal that is to be outlived (`nohup`) is outlived.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _set_environment(uploads: str) -> None:
    """Uploads into a folder of this server's own, no telemetry, and no proxy between this machine and itself."""
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_DISABLE_TELEMETRY="1",
        GRADIO_TEMP_DIR=uploads,
        GRADIO_EXAMPLES_CACHE=uploads,
    )
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(dict.fromkeys(filter(None, [*os.environ.get(name, "").split(","), HOST])))


def _taken(port: int, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"--port {port}: cannot be used on {HOST} ({reason}); give another, as --port {_other(port)}")


def _other(port: int) -> int:
    """A port near this one that is free now."""
    for near in range(max(1024, port + 1), 65_536):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, near))
            except OSError:
                continue
            return near
    return 7860
