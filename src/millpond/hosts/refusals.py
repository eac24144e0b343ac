r"""What compose, the docker client and cat say against an app's files -> words that hold no value of them. PURE.

What they say repeats what they could not read: a password whose quote is missing, a variable's value that is no port.
So none of it is told but what is listed here: the kind of mistake, and the file, the line, the key or the service,
each by its grammar. Keys are never filled in from variables. A file is named where it ends as such files do: what else
stands in its place may be a variable's value.
"""

from __future__ import annotations

import re

from millpond.hosts.model import Completed

NO_NAME = "a file"
UNTOLD = "its words may repeat a secret, and are not told here"
_LOGGED = re.compile(r'time="[^"]*" level=warning msg="(?:[^"\\]|\\.)*"')
_FILE = re.compile(r"(?:[^/\n]*/)*([A-Za-z0-9_.-]{0,64}(?:\.ya?ml|\.json|\.env)|\.env[A-Za-z0-9_.-]{0,32})")
_TOP = "services|networks|volumes|secrets|configs|include|name|version"
_AT = rf"\b(?P<at>(?:{_TOP})(?:[.\[][A-Za-z0-9_.\[\]-]{{0,200}})?)"
_PATH = r"(?P<file>[^\n]{0,1024}?)"
_SERVICE = r'service "?(?P<service>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"?'
_BEGINS = "did not find|could not find|found|mapping values|block|control characters|unexpected"
_WORDS = (
    "a|alphabetic|allowed|an|and|any|are|block|cannot|character|characters|comment|content|context|directive|document|"
    "duplicate|end|entries|escape|expected|find|flow|found|handle|in|incomplete|indentation|indicator|invalid|is|key|"
    "keys|mapping|node|not|numeric|of|or|quoted|scalar|scanning|sequence|simple|start|stream|tab|tag|that|the|this|"
    "token|undefined|unexpected|unknown|values|violates|while|whitespace"
)
"""Those of the YAML reader's sentences: whatever else stands there is the file's own."""
_YAML = rf"(?P<kind>(?:{_BEGINS})(?: (?:(?:{_WORDS})\b|'[^\w\s']{{1,2}}'|<[a-z-]{{1,20}}>))*)"
_KEY = r"(?P<name>[A-Za-z0-9_.-]{1,64})"
_VALUES = "containerPort|hostPort|IP address|port|proto|mount config|volume specification|reference format"
_NOT_READ = r"(?P<kind>no such file or directory|permission denied|is a directory|not a directory)"
_NO_VARIABLE = "a $ that begins no variable; write $$, or use single quotes"
_KNOWN: tuple[tuple[str, str], ...] = (
    # The .env.
    (
        rf"failed to read {_PATH}: line (?P<line>\d{{1,9}}): unterminated quoted value",
        "{file}, line {line}: the closing quote is missing",
    ),
    (
        rf"failed to read {_PATH}: line (?P<line>\d{{1,9}}): unexpected character\b",
        "{file}, line {line}: unexpected character in a variable's name",
    ),
    (rf"failed to read {_PATH}: line (?P<line>\d{{1,9}}): ", "{file}, line {line}: not NAME=VALUE"),
    (rf"failed to read {_PATH}: Invalid template", f"{{file}}: {_NO_VARIABLE}"),
    # Variables within the files.
    (
        rf"interpolating {_AT}: required variable (?P<name>[A-Za-z_]\w*) is missing a value",
        "{at}: required variable {name} is missing a value",
    ),
    (r"required variable \S{1,200} is missing a value", "a required variable is missing a value"),
    (rf"invalid interpolation format for {_AT}", f"{{at}}: {_NO_VARIABLE}"),
    (rf"interpolating {_AT}: failed to cast", "{at}: what it comes to is of the wrong type"),
    (rf"decoding failed[^\n]{{0,200}}\s{{1,8}}'{_AT}'", "{at}: what it comes to can't be read"),
    (rf"invalid (?P<kind>{_VALUES})\b", "invalid {kind}"),
    # The files by themselves.
    (
        rf"validating {_PATH}: {_AT} additional properties '{_KEY}' not allowed",
        "{file}: {at} has a key that is not known: {name}",
    ),
    (rf"validating {_PATH}: {_AT} additional properties", "{file}: {at} has a key that is not known"),
    (rf"{_AT} Additional property {_KEY} is not allowed", "{at} has a key that is not known: {name}"),
    (rf"{_AT} additional properties '{_KEY}' not allowed", "{at} has a key that is not known: {name}"),
    (rf"validating {_PATH}: {_AT} (?P<kind>must be [a-z, ]{{1,80}})", "{file}: {at} {kind}"),
    (rf"{_AT} (?P<kind>must be an? [a-z, ]{{1,80}})", "{at} {kind}"),
    (rf"failed to parse {_PATH}: yaml: line (?P<line>\d{{1,9}}): {_YAML}", "{file}, line {line}: {kind}"),
    (rf"yaml: line (?P<line>\d{{1,9}}): {_YAML}", "line {line}: {kind}"),
    (r"yaml: (?:line (?P<line>\d{1,9}): )?unknown anchor", "an anchor is used that is not there"),
    (r"line (?P<line>\d{1,9}): mapping key .{0,200} already defined", "line {line}: the same key for the second time"),
    (r"yaml: line (?P<line>\d{1,9}): ", "line {line}: no YAML"),
    (r"top-level object must be a mapping", "what they hold is no mapping"),
    (r"unsupported Compose file version", "its version: is none that is supported"),
    (r"no configuration file provided", "there is none: write files, or COMPOSE_FILE in its .env"),
    # What they name.
    (
        rf"{_SERVICE} has neither an image nor a build context",
        "service {service} has neither an image nor a build context",
    ),
    (
        rf"{_SERVICE} refers to undefined (?P<kind>volume|network|secret|config)\b",
        "service {service} refers to an undefined {kind}",
    ),
    (rf"{_SERVICE} depends on undefined service", "service {service} depends on an undefined service"),
    (rf"cannot extend {_SERVICE}", "service {service} can't be extended as it says"),
    (r"dependency cycle detected", "services depend on one another in a circle"),
    (rf"env file {_PATH} not found", "{file}, an env_file, is not there"),
    (rf"(?:open|stat|cat:|read) {_PATH}: {_NOT_READ}", "{file}: {kind}"),
    (_NOT_READ, "{kind}"),
    # The programs.
    (r"exec: (?P<name>docker|docker-compose): not found", "{name} is not installed there"),
    (r"Cannot connect to the Docker daemon", "its docker does not answer"),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), text) for pattern, text in _KNOWN)
MAX_READ = 16 * 1024


def told(done: Completed) -> str:
    """Give what a program said of its failure, as far as it is known to hold no value."""
    said = _LOGGED.sub("", done.err[:MAX_READ])
    for pattern, text in _PATTERNS:
        found = pattern.search(said)
        if found is not None:
            parts = {name: (part or "").rstrip(".") for name, part in found.groupdict().items()}
            return text.format(**parts | {"file": named(parts.get("file", ""))})
    return UNTOLD


def named(path: str) -> str:
    """Name a file, without its folder, where its name is one of a file."""
    found = _FILE.fullmatch(path)
    return found[1] if found is not None else NO_NAME
