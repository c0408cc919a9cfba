"""The Content-Security-Policy of a page: its own style sheet and script, named by their hashes, and nothing else."""

from __future__ import annotations

import base64
import hashlib


def policy(style: str, script: str | None = None, *, connect: bool = False) -> str:
    """What may be loaded or run by a page whose one <style>, and one <script> if it has one, hold exactly these.

    No other script, no request, no form. The script itself can make no markup out of text: whatever would parse a
    string as HTML, or run it, refuses plain strings (Trusted Types). Lengths of bars stand in style attributes, which
    can neither load anything nor reach another element.

    Args:
        connect: whether the script may ask the server that the page came from.
    """
    rules = [
        "default-src 'none'",
        f"style-src-elem '{_digest(style)}'",
        "style-src-attr 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    if script is not None:
        rules += [f"script-src '{_digest(script)}'", "require-trusted-types-for 'script'", "trusted-types 'none'"]
    if connect:
        rules.append("connect-src 'self'")
    return "; ".join(rules)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
