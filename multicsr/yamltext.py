"""YAML as it is read and written here: plain data, errors that name the line, one line for a value."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from multicsr.errors import UsageError

MOST_VALUES = 1_000_000


def parse_yaml(text: str, origin: str) -> Any:
    """YAML as plain data; a date stays text.

    Raises:
        UsageError: with file, line and column; also for a key that stands twice in a mapping, and for values that by
            references to each other are without number.
    """
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UsageError(f"{origin}{where}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UsageError(f"{origin}: nested too deeply") from None
    if _is_endless(data):
        raise UsageError(f"{origin}: its references (&name, *name) make more than {MOST_VALUES:,} values of it")
    return data


def flow(value: Any) -> str:
    """Plain data as YAML on one line, that `parse_yaml` reads back as it was."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return text.strip().removesuffix("\n...").strip()


def _is_endless(data: Any) -> bool:
    """Whether there are more values than any file of ours has, each counted wherever it is referred to."""
    waiting, count = [data], 0
    while waiting:
        value = waiting.pop()
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += 1 + len(below)
        if count > MOST_VALUES:
            return True
        waiting.extend(below)
    return False


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # YAML itself would silently take the last of two equal keys.
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key `{key.value}` stands here a second time", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    pass


def _date_as_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _text_on_one_line(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # In double quotes a line break is an escape.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _date_as_text)
_Dumper.add_representer(str, _text_on_one_line)
