"""Uploading a folder to the Hugging Face Hub, or another server that speaks its language (HF_ENDPOINT)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

import multicsr
from multicsr.errors import StageError, UsageError

FORBIDDEN = (401, 403)


def check_repo(repo: str) -> None:
    """Raises UsageError if nothing can be pushed there, before any work is done for it."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise UsageError(f"--push-to-hub {repo}: write OWNER/NAME, in letters, digits, -, _ and .")
    if not get_token():
        raise UsageError(
            f"--push-to-hub {repo}: no token of the Hub is known; log in once (hf auth login), or set HF_TOKEN"
        )


def push(folder: Path, repo: str, kind: Literal["dataset", "model"], *, public: bool) -> str:
    """Makes the repository if there is none, and puts the folder's files into it, in one commit.

    The token is that of the environment (HF_TOKEN) or of the login; it is sent to the Hub, and told to nobody else.

    Args:
        public: whether a new repository can be seen by all; one that is there stays as it is.

    Returns:
        Its address.

    Raises:
        UsageError: the Hub refuses the token or the name.
        StageError: it cannot be reached, or does not take the files.
    """
    api = HfApi(library_name="multicsr", library_version=multicsr.__version__)
    try:
        made = api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            repo_type=kind,
            folder_path=folder,
            commit_message=f"Export of multicsr {multicsr.__version__}",
        )
    except HFValidationError as error:
        raise UsageError(f"--push-to-hub {repo}: no name that the Hub could have: {_in_a_line(error)}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        said = _in_a_line(error)
        if status in FORBIDDEN:
            raise UsageError(
                f"--push-to-hub {repo}: the Hub refuses it ({status}): {said}; log in with a token that may write "
                "there (hf auth login), or name a repository of yours"
            ) from None
        raise StageError(f"--push-to-hub {repo}: the Hub does not take it: {said}") from None
    except Exception as error:  # which HTTP library, and so which error, depends on the version of the Hub client
        raise StageError(
            f"--push-to-hub {repo}: cannot be uploaded to {api.endpoint}: {_in_a_line(error)}; the same command tries "
            "it again"
        ) from None
    return str(made)


def _in_a_line(error: Exception) -> str:
    """What an error says, without the token, whatever a library may have put into it."""
    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    text = ": ".join(" ".join(str(cause).split()) or type(cause).__name__ for cause in causes)
    token = get_token()
    return text.replace(token, "…") if token else text
