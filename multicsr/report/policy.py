"""The Content-Security-Policy of a page: its own style sheet, named by its hash, and nothing else at all."""

from __future__ import annotations

import base64
import hashlib


def policy(style: str) -> str:
    """What may be loaded or run by a page whose one <style> holds exactly this: no script, no request, no form.

    Lengths of bars stand in style attributes, which can neither load anything nor reach another element.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    rules = (
        "default-src 'none'",
        f"style-src-elem 'sha256-{digest}'",
        "style-src-attr 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)
