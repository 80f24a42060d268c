"""A page as a browser without a screen draws it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def opened(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The page's elements after its scripts have run, and on stderr what they wrote to the console."""
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    return subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", *quiet.split(), "--disable-sync", *flags),
            *(f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0"),
            *("--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def drawn(page: Path, profile: Path) -> str:
    """The page's elements after its scripts have run; fails where they wrote to the console."""
    done = opened(page, profile)
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout
