"""The import rules, checked on the source: who may know whom, and who may know which library."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "rotator"
CORE = ("policies.schedule", "planner", "engine")
BASES = ("errors", "secret", "clock", "interrupt", "model", "urls")
LONGEST = 400

# Where a library of the outside world may be imported. One place each, so that it can be replaced.
LIBRARIES = {
    "httpx": ("http_client", "http_watch"),
    "boto3": ("destinations.aws_secrets_manager",),
    "botocore": ("destinations.aws_secrets_manager", "destinations.aws_errors", "destinations.aws_client"),
    "hvac": ("destinations.vault_transport",),
    "requests": ("destinations.vault_transport",),
    "urllib3": ("urllib3_calls",),
    "kubernetes": ("consumers.kubernetes_api",),
    "psycopg": ("journal.postgresql", "journal.postgresql_server", "journal.postgresql_errors"),
    "pydantic": ("policies.schema", "policies.load", "policies.problems"),
    "pydantic_core": ("policies.schema", "policies.load", "policies.problems"),
    "ruamel": ("policies.load", "policies.document", "policies.files"),
    "cronsim": ("policies.cron",),
    "aiosmtpd": ("simulator.relay",),
    "trustme": ("simulator.certificates",),
    "starlette": ("http",),
    "uvicorn": ("http",),
    "h11": ("http",),
    "prometheus_client": ("http",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
    "apscheduler": ("daemon.ticker",),
}

# A package may import these parts of rotator (and itself). `wiring` and `cli` put everything together.
MAY_IMPORT = {
    "errors": (),
    "secret": (),
    "clock": (),
    "interrupt": ("errors",),
    "urls": (),
    "model": ("clock",),
    "views": ("clock", "model", "rehearsal"),
    "words": ("model",),
    "rehearsal": ("errors", "model"),
    "policies": (*BASES, "rehearsal"),
    "planner": (*BASES, "policies.schedule"),
    "engine": (
        *BASES,
        "audit.base",
        "consumers.base",
        "destinations.base",
        "journal.base",
        "provider.base",
        "verifiers.base",
    ),
    "provider": (*BASES, "http_client", "journal.base"),
    "destinations": (*BASES, "reply", "urllib3_calls"),
    "urllib3_calls": (),
    "reply": (),
    "verifiers": (*BASES, "provider.base"),
    "canary": (*BASES, "provider.base", "destinations.base", "verifiers.send"),
    "journal": (*BASES, "audit.base"),
    "audit": BASES,
    "simulator": BASES,
    "http": (*BASES, "", "rehearsal", "settings_values", "views", "words"),  # "" is the version
    "http_client": (*BASES, "http_watch"),
    "http_watch": (*BASES, "http_client"),
    "settings": (*BASES, "credentials", "settings_sources", "settings_values"),
    "settings_sources": (*BASES, "credentials", "settings_values"),
    "signing": BASES,
    "posting": (*BASES, "http_client", "signing"),
    "notifiers": (*BASES, "http_client", "posting"),
    "consumers": (*BASES, "posting", "reply", "urllib3_calls", "words"),
    "settings_values": BASES,
    "credentials": BASES,
    "logs": BASES,
    "daemon": (
        *BASES,
        "rehearsal",
        "views",
        "operations",
        "policies",
        "engine",
        "journal.base",
    ),
    "operations": (
        *BASES,
        "canary",
        "rehearsal",
        "words",
        "views",
        "planner",
        "policies.schedule",
        "engine",
        "audit.base",
        "consumers.base",
        "destinations.base",
        "journal.base",
        "notifiers.base",
        "provider.base",
        "verifiers.base",
    ),
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Full dotted names of everything a module imports anywhere, type-checking blocks left out."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def own_imports(module: str) -> set[str]:
    """Modules of rotator that a module imports, without the leading package name."""
    names = {name.removeprefix("rotator.") for name in imports_of(module) if name.startswith("rotator.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def libraries(module: str) -> set[str]:
    tops = {name.split(".")[0] for name in imports_of(module)}
    return {top for top in tops if top not in sys.stdlib_module_names and top != "rotator"}


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("module", sorted(m for m in MODULES if within(m, CORE)))
def test_core_reaches_no_library(module: str) -> None:
    """Nothing that the core imports, directly or through others, is a third-party library."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current in seen or current not in MODULES:
            continue
        seen.add(current)
        assert libraries(current) == set(), f"{module} reaches {libraries(current)} through {current}"
        waiting.extend(own_imports(current))


def test_libraries_stay_in_their_place() -> None:
    """A library of the outside world is imported only where the table allows it."""
    wrong = [
        f"{module} imports {library}"
        for module in sorted(MODULES)
        for library in sorted(libraries(module))
        if library in LIBRARIES and not within(module, LIBRARIES[library])
    ]
    assert wrong == []


def test_only_the_log_module_configures_logging() -> None:
    """Any module outside the core may log; only one decides what becomes of it."""
    calls = ("structlog.configure", "basicConfig", "dictConfig", "addHandler")
    for module, path in MODULES.items():
        if module != "logs":
            text = path.read_text(encoding="utf-8")
            assert not [call for call in calls if f"{call}(" in text], module


def test_modules_know_only_what_they_may() -> None:
    """A module imports only its own package and the parts that the table lists for it."""
    tops = {module.split(".", maxsplit=1)[0] for module in MODULES}
    assert tops - MAY_IMPORT.keys() == {"", "__main__", "wiring", "cli", "demo"}, "missing from the table"
    wrong = [
        f"{module} imports {name}"
        for module in sorted(MODULES)
        if (top := module.split(".", maxsplit=1)[0]) in MAY_IMPORT
        for name in sorted(own_imports(module))
        if not within(name, (top, *MAY_IMPORT[top]))
    ]
    assert wrong == []


def test_nobody_imports_the_command_line() -> None:
    """Only the entry point knows the command line, and only entry points know the composition root."""
    for module in MODULES:
        for name in own_imports(module):
            if within(name, ("cli",)):
                assert within(module, ("cli", "__main__")), module
            if name == "wiring":
                assert within(module, ("cli", "demo")), module


@pytest.mark.parametrize("module", sorted(m for m in MODULES if MODULES[m].name == "__init__.py"))
def test_packages_hold_a_docstring_and_nothing_else(module: str) -> None:
    """A package's own file imports nothing, so that naming one module loads one module."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    allowed = (ast.Expr, ast.Assign) if module == "" else (ast.Expr,)
    assert all(isinstance(node, allowed) for node in tree.body)


def test_modules_are_short_and_say_what_they_are() -> None:
    """Every module has a docstring; one above 400 lines gives its reason there."""
    texts = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    said = {module: ast.get_docstring(ast.parse(text)) or "" for module, text in texts.items()}
    assert [module for module, docstring in said.items() if not docstring] == []
    long = [module for module, text in texts.items() if len(text.splitlines()) > LONGEST]
    without = [module for module in long if "one module because" not in said[module].lower()]
    assert without == [], "over 400 lines without a reason at its top"


def test_every_test_states_a_behaviour() -> None:
    """Each test has a docstring of one sentence."""
    bare = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in Path(__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert bare == []


def test_the_checker_sees_a_planted_violation(tmp_path: Path) -> None:
    """The rules are not vacuous: an import inside a function of the core is found."""
    planted = tmp_path / "planted.py"
    planted.write_text('"""x"""\ndef f():\n    import boto3\n', encoding="utf-8")
    MODULES["planted"] = planted
    try:
        assert libraries("planted") == {"boto3"}
    finally:
        del MODULES["planted"]
