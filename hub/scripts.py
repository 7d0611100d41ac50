"""Loads the Lua of the feed engine. The head of a file is its signature, so it cannot rot.

-- What the verb does.
-- uses: feed mark              (files of lua/lib, spliced in before it, with their keys and arguments)
-- keys: meta log ...topics     (become locals, in this order; the rest, if any, becomes a table)
-- args: op limit:int ...ids    (`:int` makes a number; the rest, if any, becomes a table)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable

Value = str | bytes | int
_HEAD = re.compile(r"^-- (uses|keys|args): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One verb: its source, complete, and the names of what it takes."""

    name: str
    source: str
    sha: str
    keys: tuple[str, ...]
    args: tuple[str, ...]

    def operands(
        self,
        keys: Mapping[str, str],
        args: Mapping[str, Value],
        rest: Sequence[Value] = (),
        rest_keys: Sequence[str] = (),
    ) -> tuple[Value, ...]:
        """What follows the sha in EVALSHA. Raises KeyError for a name that was not given."""
        all_keys = (*(keys[name] for name in self.keys), *rest_keys)
        return (len(all_keys), *all_keys, *(args[name] for name in self.args), *rest)


def _words(source: str, key: str) -> list[str]:
    return " ".join(found[1] for found in _HEAD.findall(source) if found[0] == key).split()


def _rest(names: list[str]) -> str | None:
    """Takes off the last name, where it stands for all that is left."""
    return names.pop().removeprefix("...") if names and names[-1].startswith("...") else None


def _prelude(keys: Sequence[str], rest_keys: str | None, args: Sequence[str], rest: str | None) -> str:
    lines = [f"local {name} = KEYS[{i}]" for i, name in enumerate(keys, 1)]
    for i, arg in enumerate(args, 1):
        name, _, kind = arg.partition(":")
        value = f"tonumber(ARGV[{i}])" if kind == "int" else f"ARGV[{i}]"
        lines.append(f"local {name} = {value}")
    if rest_keys:
        lines.append(f"local {rest_keys} = {{unpack(KEYS, {len(keys) + 1})}}")
    if rest:
        lines.append(f"local {rest} = {{unpack(ARGV, {len(args) + 1})}}")
    return "\n".join(lines)


def _script(name: str, lua: Traversable) -> Script:
    main = lua.joinpath(f"{name}.lua").read_text("utf-8")
    sources = [lua.joinpath("lib", f"{lib}.lua").read_text("utf-8") for lib in _words(main, "uses")] + [main]
    keys = [key for source in sources for key in _words(source, "keys")]
    args = [arg for source in sources for arg in _words(source, "args")]
    source = "\n".join((_prelude(keys, _rest(keys), args, _rest(args)), *sources))
    names = tuple(arg.partition(":")[0] for arg in args)
    return Script(name, source, sha1(source.encode()).hexdigest(), tuple(keys), names)


def load() -> dict[str, Script]:
    """Every script by its name."""
    lua = files("hub").joinpath("lua")
    names = [file.name.removesuffix(".lua") for file in lua.iterdir() if file.name.endswith(".lua")]
    return {name: _script(name, lua) for name in sorted(names)}
