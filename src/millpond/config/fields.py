"""The kinds of value that a setting can have, each with its check in words for the operator.

A check raises `ValueError` with a text that fits after ``key:``; the text never repeats a value that may hold a secret.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr, ValidationInfo

from millpond.config.units import parse_size
from millpond.hosts.address import parse_address
from millpond.hosts.commands import check_socket
from millpond.hosts.until import go_duration

HUB = "docker.io"
"""Docker Hub's name in the reference grammar: what Docker Engines' registry-mirrors are mirrors of."""
LISTS = ("metalink+", "mirrorlist+")
"""What stands before the URL of a list of mirrors."""
MAX_SECRET_BYTES = 64 * 1024
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_REGISTRY = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_PORT = 65535


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError('not an address to listen on; write an IP address or a host name, such as "127.0.0.1" or "::"')
    return value


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not value:
        return value
    if not colon or not _HOST.fullmatch(host.strip("[]")) or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError('not an address to listen on; write host and port, such as "127.0.0.1:8081" or "[::1]:8081"')
    return value


def _registry_host(value: str) -> str:
    if value and not _REGISTRY.fullmatch(value):
        raise ValueError('not a registry\'s name; write it as in front of its images, such as "docker.io"')
    return value


def split_http_url(value: str) -> SplitResult:
    """Read an http(s) URL without credentials, query or fragment. Raises `ValueError`."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if "@" in parts.netloc:
        raise ValueError("a URL must not carry credentials; use the keys username and password of a repository instead")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError('not an http or https URL; write one such as "https://packages.example/simple/"')
    if "?" in value or "#" in value or re.search(r"[\x00-\x20\\\x7f]", value):
        raise ValueError("a URL here has no query, no fragment, no white space and no backslash")
    return parts


def _base_url(value: str) -> str:
    listed = next((value.removeprefix(one) for one in LISTS if value.startswith(one)), "")
    if value not in {"", "adopt"}:
        split_http_url(listed.partition("?")[0] or value)
    if listed and re.search(r"[\x00-\x20\\\x7f#]", listed):
        raise ValueError("the URL of a list of mirrors has no fragment, no white space and no backslash")
    return value


def _public_url(value: str) -> str:
    if value:
        split_http_url(value)
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = split_http_url(value)
    if parts.path not in {"", "/"}:
        raise ValueError(f'an origin has no path; did you mean "{parts.scheme}://{parts.netloc}"?')
    return value.rstrip("/")


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        loose = ipaddress.ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise ValueError(f'{value!r} is no network; write one such as "10.0.0.0/8" or "fd00::/8"') from None
    if ipaddress.ip_address(str(value).partition("/")[0]) != loose.network_address:
        raise ValueError(f'{value!r} has bits set behind its prefix; did you mean "{loose}"?')
    return loose


def _digest(value: str) -> str:
    if not _DIGEST.fullmatch(value):
        raise ValueError('not a digest; write "sha256:" and 64 lower-case hexadecimal digits')
    return value


def _pattern(value: str) -> str:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        raise ValueError(
            f"the pattern {value!r} is refused: {reason} (RE2 syntax: look-ahead and back-references are not supported)"
        ) from None
    return value


def _storage_url(value: str) -> str:
    if value.startswith("s3:"):
        raise ValueError('object stores are not in this version; use "file:" and a folder')
    if value and not value.startswith("file:"):
        raise ValueError('not a storage; write "file:" and a folder, such as "file:./storage"')
    if value == "file:":
        raise ValueError('the folder is missing; write one, such as "file:./storage"')
    return value


def _database_url(value: str) -> str:
    if value.startswith(("postgresql:", "postgres:", "postgresql+")):
        raise ValueError('PostgreSQL is not in this version: the catalog is for SQLite alone; use "sqlite"')
    if value != "sqlite":
        raise ValueError('not a database; the only one in this version is "sqlite"')
    return value


def _address(value: str) -> str:
    parse_address(value)
    return value


def _until(value: str) -> str:
    go_duration(value)
    return value


def _socket(value: str) -> str:
    return check_socket(value) if value else value


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("a label has letters, digits, '.', '_' and '-', and begins with a letter or digit")
    return value


def _local_path(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("not a path")
    return value


def _path(value: object) -> object:
    if isinstance(value, str):
        if not value or "\0" in value:
            raise ValueError("not a path")
        return Path(value)
    return value


def _secret(value: object, info: ValidationInfo) -> object:
    """Read a secret where it is: in the environment, in a file, or in the configuration itself."""
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, dict):
        value = _referred_secret(value, info.context or {})
    if not isinstance(value, str):
        raise ValueError('not a secret; write { env = "NAME" }, { file = "PATH" } or a string')  # noqa: TRY004 - pydantic collects ValueErrors only
    if not value:
        raise ValueError("the secret is empty; give it a value, or leave the key out")
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError("the secret has more than one line; a user name or password has one")
    return SecretStr(value)


def _referred_secret(reference: dict[str, Any], context: dict[str, Any]) -> str:
    match reference:
        case {"env": str(name), **rest} if not rest:
            value = context.get("environ", {}).get(name)
            if value is None:
                raise ValueError(f'the environment variable "{name}" is not set')
            return str(value)
        case {"file": str(path), **rest} if not rest:
            return _secret_file(Path(path))
    raise ValueError('not a secret; write { env = "NAME" }, { file = "PATH" } or a string')


def _secret_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the secret file {path} cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"the secret file {path} is larger than {MAX_SECRET_BYTES} bytes; that is no secret")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"the secret file {path} is not UTF-8 text") from None


Host: TypeAlias = Annotated[str, AfterValidator(_host)]
Listen: TypeAlias = Annotated[str, AfterValidator(_listen)]
RegistryHost: TypeAlias = Annotated[str, AfterValidator(_registry_host)]
Port: TypeAlias = Annotated[int, Field(ge=0, le=_MAX_PORT)]
Size: TypeAlias = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=31_536_000)]
SecondsOrZero: TypeAlias = Annotated[float, Field(ge=0, le=31_536_000)]
"""Zero is allowed, and means at once."""
MoreThanZero: TypeAlias = Annotated[float, Field(gt=0)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=100_000)]
Fraction: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Network: TypeAlias = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, PlainValidator(_network)]
Networks: TypeAlias = Annotated[tuple[Network, ...], Field(strict=False)]
Location: TypeAlias = Annotated[Path, BeforeValidator(_path)]
Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(_secret)]
Secrets: TypeAlias = Annotated[tuple[Secret, ...], Field(strict=False, max_length=20)]
SshAddress: TypeAlias = Annotated[str, AfterValidator(_address)]
EngineSocket: TypeAlias = Annotated[str, AfterValidator(_socket)]
Until: TypeAlias = Annotated[str, AfterValidator(_until)]
Label: TypeAlias = Annotated[str, AfterValidator(_label)]
Labels: TypeAlias = Annotated[tuple[Label, ...], Field(strict=False, max_length=100)]
LocalPath: TypeAlias = Annotated[str, AfterValidator(_local_path)]
BaseUrl: TypeAlias = Annotated[str, AfterValidator(_base_url)]
PublicUrl: TypeAlias = Annotated[str, AfterValidator(_public_url)]
StorageUrl: TypeAlias = Annotated[str, AfterValidator(_storage_url)]
DatabaseUrl: TypeAlias = Annotated[str, AfterValidator(_database_url)]
Origin: TypeAlias = Annotated[str, AfterValidator(_origin)]
Origins: TypeAlias = Annotated[tuple[Origin, ...], Field(strict=False)]
Pattern: TypeAlias = Annotated[str, AfterValidator(_pattern)]
Patterns: TypeAlias = Annotated[tuple[Pattern, ...], Field(strict=False)]
Sha256: TypeAlias = Annotated[str, AfterValidator(_digest)]
