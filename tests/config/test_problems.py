"""What a mistake is answered with: place, key, what is wrong, what was meant."""

from __future__ import annotations

import pytest

PYPI = '[repositories.pypi]\npackage = "pypi"\nbase_url = "http://up.example/simple/"\n'
GENERIC = '[repositories.files]\npackage = "generic"\nbase_url = "http://up.example/"\n'
LOCAL = '[repositories.files]\npackage = "generic"\ntype = "local"\n'
RE2 = "(RE2 syntax: look-ahead and back-references are not supported)"

MISTAKES = {
    "an unknown key": (
        PYPI + "mutable_tll_s = 3",
        '[repositories.pypi] mutable_tll_s: unknown key; did you mean "mutable_ttl_s"?',
    ),
    "an unknown table": ("[servr]\nport = 1", '[servr]: unknown table; did you mean "server"?'),
    "a table of a later version": (
        "[console]\nkind = 'local'",
        (
            '[console]: unknown table; known: "access", "apps", "database", "delivery", "forge", "hosts", "notify", '
            '"pipeline", "projects", "repositories", "server", "storage", "tracker", "upkeep", "upstream", "usage"'
        ),
    ),
    "a key of another table": (
        "[server]\nread_timeout_s = 3",
        "[server] read_timeout_s: unknown key here; it belongs in [upstream] or [repositories.NAME]",
    ),
    "a key outside of its table": ("port = 1", "port: unknown key here; it belongs in [server]"),
    "an unknown package": (
        '[repositories.x]\npackage = "pipy"\nbase_url = "http://up.example/"',
        '[repositories.x] package: unknown package "pipy"; did you mean "pypi"?',
    ),
    "a type that the package has not": (
        '[repositories.x]\npackage = "pypi"\ntype = "local"',
        '[repositories.x] type: "local" is not a type that pypi has; it has "remote"',
    ),
    "a word that is none of a key's values": (
        '[server]\nlog_level = "warn"',
        '[server] log_level: "warn" is not one of its values; did you mean "warning"?',
    ),
    "text for a number": ('[server]\nport = "80"', "[server] port: must be a whole number, not text"),
    "a fraction for a whole number": ("[server]\nport = 80.5", "[server] port: must be a whole number, not a number"),
    "a truth for a number": (
        "[upstream]\npatience_s = true",
        "[upstream] patience_s: must be a number, not true or false",
    ),
    "no number at all": (
        "[upstream]\npatience_s = nan",
        "[upstream] patience_s: must be a finite number, not a number",
    ),
    "a date for text": ("[server]\nhost = 2026-01-01", "[server] host: must be text, not a date or time"),
    "text for a list": (
        PYPI + 'mutable_patterns = "x"',
        "[repositories.pypi] mutable_patterns: must be a list, not text",
    ),
    "a value for a table": ("server = 3", "[server]: must be a table: write its keys below a line [server]"),
    "too large": ("[server]\nport = 65536", "[server] port: must be at most 65535, not 65536"),
    "too small": ("[server]\nworkers = 0", "[server] workers: must be at least 1, not 0"),
    "not above zero": ("[upstream]\nread_timeout_s = 0", "[upstream] read_timeout_s: must be more than 0, not 0"),
    "no size": (
        '[storage]\nmax_size = "50GX"',
        '[storage] max_size: \'50GX\' is not a size; write a number and a unit, such as "500MiB" or "50GiB"',
    ),
    "watermarks that cross": (
        "[storage]\nhigh_watermark = 0.8",
        "[storage] high_watermark: low_watermark (0.85) must be less than high_watermark (0.8)",
    ),
    "an object store": (
        '[storage]\nurl = "s3://bucket"',
        '[storage] url: object stores are not in this version; use "file:" and a folder',
    ),
    "another database": (
        '[database]\nurl = "postgresql://u:canary@h/d"',
        '[database] url: PostgreSQL is not in this version: the catalog is for SQLite alone; use "sqlite"',
    ),
    "a network with host bits": (
        '[server]\ntrusted_proxies = ["10.0.0.1/8"]',
        "[server] trusted_proxies[0]: '10.0.0.1/8' has bits set behind its prefix; did you mean \"10.0.0.0/8\"?",
    ),
    "a circuit that opens for longer than at most": (
        GENERIC + "circuit_open_s = 400",
        "[repositories.files] circuit_open_s: circuit_open_s (400) must not exceed circuit_max_open_s (300)",
    ),
    "a local repository with an upstream": (
        LOCAL + 'base_url = "http://up.example/"',
        (
            "[repositories.files] base_url: a local repository has no upstream; leave the key out, "
            'or write type = "remote"'
        ),
    ),
    "a remote repository without one": (
        '[repositories.pypi]\npackage = "pypi"',
        (
            "[repositories.pypi] base_url: missing; a remote repository needs the upstream's URL, "
            'or "adopt" for what this machine\'s own clients use'
        ),
    ),
    "uploads to a remote repository": (
        PYPI + "allow_overwrite = true",
        (
            "[repositories.pypi] allow_overwrite: nothing is uploaded to a remote repository; leave the key out, "
            'or write type = "local"'
        ),
    ),
    "adopting what no client has": (
        '[repositories.files]\npackage = "generic"\nbase_url = "adopt"',
        (
            "[repositories.files] base_url: this package has no client on this machine to adopt an upstream from; "
            "write the URL"
        ),
    ),
    "digests where the index has them": (
        PYPI + "digests = {}",
        "[repositories.pypi] digests: pypi takes its digests from its index; leave the key out",
    ),
    "a digest that is none": (
        GENERIC + 'digests = { "a/b" = "sha256:12" }',
        '[repositories.files] digests."a/b": not a digest; write "sha256:" and 64 lower-case hexadecimal digits',
    ),
    "look-ahead": (
        PYPI + "immutable_patterns = ['ok', '(?=x)']",
        f"[repositories.pypi] immutable_patterns[1]: the pattern '(?=x)' is refused: invalid perl operator: (?= {RE2}",
    ),
    "credentials in a URL": (
        '[repositories.pypi]\npackage = "pypi"\nbase_url = "http://user:canary@up.example/"',
        (
            "[repositories.pypi] base_url: a URL must not carry credentials; use the keys username and password "
            "of a repository instead"
        ),
    ),
    "a variable that is not set": (
        PYPI + 'password = { env = "NOPE" }',
        '[repositories.pypi] password: the environment variable "NOPE" is not set',
    ),
    "a reference that is none": (
        PYPI + 'password = { evn = "NOPE" }',
        '[repositories.pypi] password: not a secret; write { env = "NAME" }, { file = "PATH" } or a string',
    ),
    "an empty secret": (
        PYPI + 'password = ""',
        "[repositories.pypi] password: the secret is empty; give it a value, or leave the key out",
    ),
    "an origin with a path": (
        PYPI + 'trusted_origins = ["http://files.lan:81/x"]',
        '[repositories.pypi] trusted_origins[0]: an origin has no path; did you mean "http://files.lan:81"?',
    ),
    "no package": (
        '[repositories.x]\nbase_url = "http://up.example/"',
        "[repositories.x] package: missing; every repository needs it",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_what_was_meant(mistake, problems):
    text, line = MISTAKES[mistake]
    assert problems(text) == [f"millpond.toml: {line}"]


@pytest.mark.parametrize("name", ["api", "V2", "health", "favicon.ico", ".well-known"])
def test_the_daemons_own_first_segments_are_no_repository_names(name, problems):
    text = f'[repositories."{name}"]\npackage = "generic"\ntype = "local"'
    assert any("this name is reserved" in line for line in problems(text))


@pytest.mark.parametrize("name", ["a@b", "a/b", "-a", ".a", "a b", "", "a" * 65, "ä", "a\\n"])
def test_a_name_has_letters_digits_and_little_else(name, problems):
    assert any(": a name has letters" in line for line in problems(f'[repositories."{name}"]\npackage = "generic"'))


@pytest.mark.parametrize("name", ["a", "PyPI", "a.b-c_d", "0", "a" * 64])
def test_a_name_of_letters_digits_dots_and_dashes_is_good(name, loaded):
    assert name in loaded(f'[repositories."{name}"]\npackage = "generic"\ntype = "local"').repositories


def test_all_mistakes_are_reported_at_once(problems):
    text = "prt = 1\n[server]\nport = 'x'\nhst = 'y'\n[storage]\nlow_watermark = 1\n[repositories.api]\npackage = 'x'"
    assert len(problems(text, {"MILLPOND_USAGE__KEEP_DAYS": "0"})) == 8


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = = 2", "millpond.toml: line 2, column 5: invalid value"),
        ("[x\n", "millpond.toml: line 1, column 3: expected ']' at the end of a table declaration"),
        ('\n\na = "x', "millpond.toml: line 3, column 7: unterminated string (at the end of the file)"),
    ],
)
def test_a_syntax_error_names_line_and_column(text, line, problems):
    assert problems(text) == [line]


def test_no_line_repeats_a_secret(problems):
    texts = [
        PYPI + 'password = "canary\\nnary"',
        PYPI + 'passwrod = "canary"',
        PYPI + 'password = { env = "SECRET" }',
        PYPI + "password = ['canary']",
        '[repositories.x]\npackage = "pypi"\nbase_url = "https://a:canary@h/?k=canary"',
        '[server]\npublic_url = "http://u:canary@h"',
        '[database]\nurl = "postgres://u:canary@h"',
    ]
    assert not [line for text in texts for line in problems(text, {"SECRET": "canary\ncanary"}) if "canary" in line]
