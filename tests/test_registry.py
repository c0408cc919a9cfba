"""The registry: what counts as a plugin, what is refused and with what words, and whom a broken plugin harms."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multicsr.config import DEFAULT_FILTERS
from multicsr.errors import ConfigError, PluginError
from multicsr.registry import Plugin, Registry
from multicsr.schemas import Pair, Score, Triplet, Verdict

HEAD = """\
from collections.abc import Iterable, Sequence
from typing import Any
from multicsr import Capability, Failure, Judge, Pair, PromptId, Score, Triplet, Verdict, filter, judge

"""
TRIPLET = Triplet(anchor="A dog runs.", positive="A dog is running.", negative="A dog sleeps.")


@pytest.fixture
def write(tmp_path):
    """Writes a plugin file (the usual imports are put first) and gives its path."""

    def write_file(source: str, name: str = "mine.py") -> str:
        path = tmp_path / name
        path.write_text(HEAD + source, "utf-8")
        return str(path)

    return write_file


def only(file: str) -> Plugin:
    """The one plugin of a file."""
    built_in = {plugin.origin for plugin in Registry.load()}
    (plugin,) = [plugin for plugin in Registry.load([file]) if plugin.origin not in built_in]
    return plugin


def refusal(*files: str) -> str:
    with pytest.raises(PluginError) as caught:
        Registry.load(files)
    return str(caught.value)


# --- what counts as a plugin -----------------------------------------------------------------------------------------


def test_the_built_in_ones():
    registry = Registry.load()
    assert registry.broken == []
    names = [(plugin.kind, plugin.name) for plugin in registry]
    assert names == sorted(names)
    assert {*(("filter", name) for name in DEFAULT_FILTERS), ("judge", "likelihood")} < set(names)
    for plugin in registry:
        assert plugin.provider == "built in"
        file, _, line = plugin.origin.rpartition(":")
        assert Path(file).read_text("utf-8").splitlines()[int(line) - 1].startswith(f'@{plugin.kind}("{plugin.name}"')
        assert plugin.source_hash == hashlib.sha256(Path(file).read_bytes()).hexdigest()
        assert plugin.summary.endswith((".", "×", ")."))
        assert plugin.check_options({}, "key").keys() == plugin.options.model_fields.keys()


FUNCTION = """
@filter("mine", version="1")
def mine(ROW, *, words: int = 3) -> Verdict:
    '''Summary.

    More.
    '''
"""
CLASS = """
@filter("mine", version="1")
class Mine:
    '''Summary.'''
    def __init__(self, *, words: int = 3) -> None:
        self.words = words
    def __call__(self, ROW) -> Verdict: ...
"""
JUDGE = """
@judge("mine", version="1")
class Mine(Judge):
    '''Summary.'''
    needs = frozenset({Capability.SCORE})
    def __init__(self, *, words: int = 3) -> None: ...
    def rate(self, ROW): ...
"""


@pytest.mark.parametrize(
    ("source", "row", "batch", "stateful"),
    [
        (FUNCTION, "triplet: Triplet", False, False),
        (FUNCTION, "triplet: 'Triplet'", False, False),
        (FUNCTION, "triplet: Triplet, /", False, False),
        (FUNCTION, "triplets: Sequence[Triplet]", True, False),
        (FUNCTION, "triplets: list[Triplet]", True, False),
        (FUNCTION, "triplets: Iterable[Triplet]", True, False),
        (CLASS, "triplet: Triplet", False, True),
        (CLASS, "triplets: Sequence[Triplet]", True, True),
        (FUNCTION.replace("@filter", "@judge"), "pair: Pair", False, False),
        (FUNCTION.replace("@filter", "@judge"), "pairs: Sequence[Pair]", True, False),
        (CLASS.replace("@filter", "@judge"), "pair: Pair", False, True),
        (JUDGE, "pairs: Sequence[Pair]", True, True),
    ],
)
def test_functions_and_classes_for_rows_and_batches(write, source, row, batch, stateful):
    file = write(source.replace("ROW", row))
    plugin = only(file)
    assert (plugin.name, plugin.version, plugin.summary) == ("mine", "1", "Summary.")
    assert (plugin.batch, plugin.stateful) == (batch, stateful)
    assert plugin.origin == f"{file}:{HEAD.count(chr(10)) + 2}"
    assert plugin.provider == "named file"
    assert plugin.check_options({"words": 4}, "key") == {"words": 4}


def test_what_a_file_imports_inherits_or_names_twice_is_no_plugin_of_its_own(write, monkeypatch, tmp_path):
    write("@filter('base', version='1')\ndef base(triplet: Triplet) -> Verdict: ...\n", "helper_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    source = "from helper_of_mine import base\n" + CLASS.replace("ROW", "triplet: Triplet")
    file = write(source + "\nAlias = Mine\nclass Heir(Mine):\n    pass\n")
    assert only(file).target.__name__ == "Mine"


def test_a_filter_and_a_judge_may_share_a_name(write):
    file = write(
        "@filter('mine', version='1')\ndef a(triplet: Triplet) -> Verdict: ...\n"
        "@judge('mine', version='2')\ndef b(pair: Pair) -> Score: ...\n"
    )
    registry = Registry.load([file])
    assert registry.get("filter", "mine", "filters").version == "1"
    assert registry.get("judge", "mine", "judge.name").version == "2"


def test_the_same_file_named_twice_is_loaded_once(write, monkeypatch, tmp_path):
    file = write(FUNCTION.replace("ROW", "triplet: Triplet"))
    monkeypatch.chdir(tmp_path)
    registry = Registry.load([file, "mine.py", "./mine.py"])
    assert registry.get("filter", "mine", "filters").origin.startswith(f"{file}:")


def test_a_changed_file_is_another_plugin(write):
    source = FUNCTION.replace("ROW", "triplet: Triplet")
    first = only(write(source))
    second = only(write(source + "# changed\n"))
    assert first.source_hash != second.source_hash


# --- what is refused -------------------------------------------------------------------------------------------------


NEITHER = (
    "must take one positional parameter, annotated Triplet or Sequence[Triplet]; options are keyword-only, after a *"
)
NAME = "a name consists of small letters, digits, - and _, a letter first"


def function(parameters: str, name: str = "mine", kind: str = "filter", version: object = "1") -> str:
    return f"class X: ...\n@{kind}({name!r}, version={version!r})\ndef f({parameters}): ...\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (function("triplet"), f"f {NEITHER}"),
        (function("pair: Pair"), f"f {NEITHER}"),
        (function("triplet: Triplet | None"), f"f {NEITHER}"),
        (function("triplets: dict[str, Triplet]"), f"f {NEITHER}"),
        (function("triplet: Triplet, n: int = 3"), f"f {NEITHER}"),
        (function(""), f"f {NEITHER}"),
        ("@filter('mine', version='1')\nclass F: ...", f"__call__ {NEITHER}"),
        (function("triplet: Triplet", kind="judge"), f"f {NEITHER.replace('Triplet', 'Pair')}"),
        (
            JUDGE.replace("ROW", "pair: Pair"),
            f"rate {NEITHER.replace('Triplet or Sequence[Triplet]', 'Sequence[Pair]')}",
        ),
        (JUDGE.replace("def rate(self, ROW)", "def rat(self)"), "it lacks rate"),
        (function("triplet: 'Triplett'"), "NameError: name 'Triplett' is not defined"),
        (function("triplet: Triplet, *, n=3"), "the option 'n' needs a type and a default"),
        (function("triplet: Triplet, *, n: int"), "the option 'n' needs a type and a default"),
        (
            CLASS.replace("*, w", "w").replace("ROW", "t: Triplet"),
            "the option 'words' must be keyword-only: put a * be",
        ),
        (
            function("triplet: Triplet, *, x: X = X()"),
            "PydanticSchemaGenerationError: Unable to generate pydantic-core",
        ),
        (function("triplet: Triplet", name="two words"), NAME),
        (function("triplet: Triplet", name="a.b"), NAME),
        (function("triplet: Triplet", version=1), 'version = 1: write a text without spaces, such as "1"'),
        (function("triplet: Triplet", version="1 beta"), "version = '1 beta': write a text without spaces"),
        (function("triplet: Triplet", version=""), "version = '': write a text without spaces"),
        (
            function("triplet: Triplet, *, n: int = 'few', m: int = None"),
            "its type refuses the default of the option n = 'few': input should be a valid integer, unable to parse "
            "string as an integer; m = None: input should be a valid integer",
        ),
        (
            function("triplet: Triplet, *, n: Any = X()"),
            "an option must have a type that can be written to a file: Unable to serialize unknown type",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_naming_the_line(write, source, said):
    file = write(source)
    line = next(n for n, text in enumerate((HEAD + source).splitlines(), start=1) if text.startswith("@"))
    kind, name = re.findall(r"@(\w+)\('?\"?([\w. ]+)", source)[0]
    message = refusal(file)
    assert message.startswith(f"plugins = {file}: cannot be loaded: {file}:{line}: {kind} {name!r}: {said}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(t: Triplet): ...", "it defines no plugin; put @filter(...) or @judge(...) on a function or a class"),
        ("@filter\ndef f(t: Triplet): ...", "TypeError: filter() missing 1 required keyword-only argument: 'version'"),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("def f(t: Triplett): ...", "NameError: name 'Triplett' is not defined"),
        ("def f(:", "SyntaxError: invalid syntax (mine.py, line 5)"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_refused_with_the_cause(write, source, said):
    file = write(source)
    assert refusal(file) == f"plugins = {file}: cannot be loaded: {said}"


def test_a_file_that_is_not_there_or_no_python(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert refusal("nowhere.py") == "plugins = nowhere.py: no such file"
    assert refusal(str(tmp_path)) == f"plugins = {tmp_path}: no such file"
    assert refusal(str(tmp_path / "notes.txt")) == f"plugins = {tmp_path / 'notes.txt'}: not a Python file"


def test_a_refused_file_can_be_repaired_and_named_again(write):
    refusal(write("1 / 0", "refused.py"))
    assert not [name for name in sys.modules if name.startswith("multicsr_plugin_refused_")]
    assert only(write(FUNCTION.replace("ROW", "triplet: Triplet"), "refused.py")).name == "mine"


@pytest.mark.parametrize("kind", ["built in", "other file", "same file"])
def test_a_name_that_is_taken_is_refused_naming_both_origins(write, kind):
    source = FUNCTION.replace("ROW", "triplet: Triplet")
    line = HEAD.count("\n") + 2
    if kind == "built in":
        file = write(source.replace("mine", "copy"))
        first, second = Registry.load().get("filter", "copy", "filters").origin, f"{file}:{line}"
        message = refusal(file)
    elif kind == "other file":
        files = [write(source, "a.py"), write(source, "b.py")]
        first, second = (f"{file}:{line}" for file in files)
        message = refusal(*files)
    else:
        file = write(source + source.replace("def mine", "def other"))
        first, second = f"{file}:{line}", f"{file}:{line + source.count(chr(10))}"
        message = refusal(file)
    name = "copy" if kind == "built in" else "mine"
    assert message == f"two filters are named '{name}': {first} and {second}; rename one"


def test_a_name_that_is_not_there():
    with pytest.raises(PluginError) as caught:
        Registry.load().get("judge", "likelyhood", "judge.name")
    assert str(caught.value).startswith("judge.name = 'likelyhood': no such judge; there are: ")
    assert "likelihood, " in str(caught.value)


# --- options ---------------------------------------------------------------------------------------------------------


def test_every_wrong_option_is_named_with_its_key():
    length = Registry.load().get("filter", "length", "filters")
    assert length.check_options({"min_words": "4"}, "filters.length")["min_words"] == 4
    with pytest.raises(ConfigError) as caught:
        length.check_options({"min_words": "few", "max_ratio": None, "max_words": 0, "least": 3}, "filters.length")
    assert caught.value.problems == (
        "filters.length.min_words = 'few': input should be a valid integer, unable to parse string as an integer",
        "filters.length.max_words = 0: input should be greater than or equal to 1",
        "filters.length.max_ratio = None: input should be a valid number",
        "filters.length.least: the filter 'length' has no such option; "
        "it has: min_words, max_words, max_ratio, allow_truncated",
    )


def test_options_as_they_are_recorded(write):
    plugin = only(
        write(
            "from pathlib import Path\n"
            "@filter('mine', version='1')\n"
            "def f(triplet: Triplet, *, words: frozenset[str] = frozenset({'a'}), file: Path | None = None): ..."
        )
    )
    checked = plugin.check_options({"words": ["b"], "file": "x.txt"}, "key")
    assert checked == {"words": frozenset({"b"}), "file": Path("x.txt")}
    assert plugin.plain_options(checked) == {"words": ["b"], "file": "x.txt"}
    assert plugin.check_options({}, "key") == {"words": frozenset({"a"}), "file": None}


def test_a_plugin_without_options_says_so(write):
    plugin = only(write(function("triplet: Triplet")))
    with pytest.raises(ConfigError, match=r"^filters\.mine\.x: the filter 'mine' has no such option; it has: none$"):
        plugin.check_options({"x": 1}, "filters.mine")


def test_prompts_among_the_options(write):
    given = {"prompt": "a", "true_prompt": "b", "false_prompt": "c", "neutral": "d"}
    assert Registry.load().get("judge", "likelihood", "").prompt_options(given) == ["a", "b", "c", "d"]
    plugin = only(
        write(
            "@judge('mine', version='1')\n"
            "def f(pair: Pair, *, one: PromptId | None = None, two: str = 'entailment') -> Score: ..."
        )
    )
    assert plugin.prompt_options({"one": "rubric", "two": "x"}) == ["rubric"]
    assert plugin.prompt_options({"one": None, "two": "x"}) == []


def test_bind_fills_in_the_options(write):
    plugin = only(write(FUNCTION.replace("ROW", "triplet: Triplet") + "    return Verdict.reject(str(words))\n"))
    assert plugin.bind({"words": 7}, "filters.mine")(TRIPLET).reason == "7"
    source = CLASS.replace("ROW", "triplet: Triplet").replace("...", "return Verdict.reject(str(self.words))")
    mine = only(write(source))
    bound = mine.bind({"words": 7}, "filters.mine")
    assert bound(TRIPLET).reason == "7"
    assert bound is not mine.bind({"words": 7}, "filters.mine"), "state is never shared between chains"


def test_a_class_that_refuses_its_options(write):
    file = write(CLASS.replace("ROW", "triplet: Triplet").replace("self.words = words", "1 / words"))
    with pytest.raises(PluginError) as caught:
        only(file).bind({"words": 0}, "filters.mine")
    said = "cannot be set up with these options: ZeroDivisionError: division by zero"
    assert str(caught.value) == f"filters.mine: {file}:{HEAD.count(chr(10)) + 2} {said}"


# --- installed plugins -----------------------------------------------------------------------------------------------


def python(script: str, path: Path) -> Any:
    """What a new interpreter that also looks for distributions in `path` prints as JSON."""
    environ = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


INSTALLED = """
import json
from multicsr.filtering import bind_filters, run_chain
from multicsr.registry import Registry
from multicsr.schemas import Pair, Triplet

registry = Registry.load()
chain = bind_filters(registry, {"length": {}, "politeness": {"tolerated": 1}})
triplets = [Triplet(anchor="a b c", positive="a b c", negative=text) for text in ("what an idiot", "stupid stupid c")]
overlap = registry.get("judge", "overlap", "judge.name")
try:
    registry.get("filter", "rudeness", "filters")
except Exception as error:
    message = str(error)
print(json.dumps({
    "names": [[p.kind, p.name, p.version, p.origin, p.provider] for p in registry if "multicsr_politeness" in p.origin],
    "reasons": [said[-1][1].reason for said in run_chain(chain, triplets)],
    "similarity": overlap.target(Pair(first="a b", second="b c")).similarity,
    "broken": [[b.origin, b.cause] for b in registry.broken],
    "message": message,
}))
"""


def test_a_package_that_is_really_installed(tmp_path):
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(Path(__file__).parent / "plugin_pkg", source)
    command = [
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        target,
        source,
    ]
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    package = target / "multicsr_politeness"
    found = python(INSTALLED, target)
    provider = "multicsr-politeness 1.2"
    assert found["names"] == [
        ["filter", "politeness", "3", f"{package / 'filters.py'}:9", provider],
        ["judge", "identity", "1", f"{package / 'judges.py'}:15", provider],
        ["judge", "overlap", "1", f"{package / 'judges.py'}:8", provider],
    ]
    assert found["reasons"] == ["", "rude"]
    assert found["similarity"] == pytest.approx(5 / 3)
    broken = [
        [
            f"entry point broken = multicsr_politeness.broken of {provider}",
            "ModuleNotFoundError: No module named 'a_library_that_is_not_installed'",
        ],
        [
            f"entry point empty = multicsr_politeness.words of {provider}",
            "it defines no plugin; put @filter(...) or @judge(...) on a function or a class",
        ],
        [f"entry point leaves = multicsr_politeness.leaves of {provider}", "SystemExit: no license"],
    ]
    assert found["broken"] == broken
    listed = "".join(f"\nbroken plugin {origin}: {cause}" for origin, cause in broken)
    assert found["message"].startswith("filters = 'rudeness': no such filter; there are: copy, ")
    assert found["message"].endswith(listed)


def test_an_installed_plugin_with_the_name_of_a_built_in_one_is_refused(tmp_path, write, monkeypatch):
    write(FUNCTION.replace("mine", "length").replace("ROW", "triplet: Triplet"), "plugin_with_a_taken_name.py")
    information = tmp_path / "taken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: taken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[multicsr.plugins]\ntaken = plugin_with_a_taken_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal()
    assert message.startswith("two filters are named 'length': ")
    assert "length.py:" in message
    assert f"{tmp_path / 'plugin_with_a_taken_name.py'}:" in message


def test_decorated_things_stay_what_they_are(write):
    target = only(write(FUNCTION.replace("ROW", "triplet: Triplet") + "    return Verdict.accept()\n")).target
    assert target(TRIPLET) == Verdict.accept()
    judge = only(write("@judge('mine', version='1')\ndef f(pair: Pair) -> Score:\n    return Score(similarity=5)\n"))
    assert judge.target(Pair(first="a", second="a")) == Score(similarity=5)
