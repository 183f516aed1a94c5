"""Hold the rules of this house that neither a type nor an import can show.

    house_rules.py [ROOT]       prints `path:line: rule: what to do instead`, exits 1 on findings

The ledger has to give the same answer everywhere and for ever, so in `ledger/`:

- integers only: no float, no true division;
- no order that depends on addresses or hashes: a set is sorted before anybody walks through it,
  and `hash()` and `id()` are not called;
- nothing from outside: no clock, network, thread, file, environment or randomness;
- of other people's code only what checks signatures and packs bytes, and LevelDB in one file.

A client has to check lists without a ledger, so `registry/client/` and `registry/formats/` import
of it only what any reader of lists needs.

And in the service too, so that a newcomer finds the way: short files, short functions, and nothing
left for later in a comment.

Sets are found by what a file says of them (a display, a call, an annotation, an assignment of one
of these); one that comes out of a function of another file is not seen.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("ledger", "registry")
LEVELDB = Path("ledger/leveldb.py")
FILE_LINES = 500
FUNCTION_LINES = 70

UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
"""Spelt in pieces, so that this file passes its own check."""
TEXT_SUFFIXES = {".py", ".md", ".toml"}
SCRIPT_FOLDERS = {"scripts", ".ci"}
NOT_OURS = {".git", ".venv", "build", "dist", "node_modules", "vendor"}

NOT_IN_LEDGER = {
    "asyncio": "the caller drives the ledger; give it plain functions and generators",
    "bz2": "compressors differ between versions; compress in the service",
    "concurrent": "the ledger runs on one thread; let the caller hand work out",
    "ctypes": "nothing of the machine may reach a result",
    "datetime": "take the block's time in milliseconds as an argument",
    "decimal": "amounts are integers in atomic units",
    "fractions": "amounts are integers in atomic units",
    "glob": "do input and output through the Store",
    "gzip": "compressors differ between versions; compress in the service",
    "http": "the ledger sees no network; pass bytes in",
    "importlib": "import by name, so that the checks see it",
    "io": "do input and output through the Store",
    "ipaddress": "its answers differ between versions; apply the prefix table to packed bytes",
    "locale": "nothing of the machine may reach a result",
    "logging": "return what happened; the service writes it down",
    "lzma": "compressors differ between versions; compress in the service",
    "multiprocessing": "the ledger runs on one thread; let the caller hand work out",
    "os": "do input and output through the Store, and take settings from genesis",
    "pathlib": "do input and output through the Store",
    "pickle": "encode with ledger.codec",
    "platform": "nothing of the machine may reach a result",
    "random": "derive what looks random from the epoch's seed",
    "secrets": "derive what looks random from the epoch's seed",
    "select": "the ledger sees no network; pass bytes in",
    "selectors": "the ledger sees no network; pass bytes in",
    "shutil": "do input and output through the Store",
    "signal": "the caller stops the ledger, between two blocks",
    "socket": "the ledger sees no network; pass bytes in",
    "sqlite3": "do input and output through the Store",
    "ssl": "the ledger sees no network; pass bytes in",
    "statistics": "count in integers",
    "subprocess": "nothing of the machine may reach a result",
    "tempfile": "do input and output through the Store",
    "threading": "the ledger runs on one thread; let the caller hand work out",
    "time": "take the block's time in milliseconds as an argument",
    "unicodedata": "its tables differ between versions; compare bytes",
    "urllib": "the ledger sees no network; pass bytes in",
    "uuid": "derive names from a hash of what they name",
    "zlib": "compressors differ between versions; compress in the service",
}
"""Modules of the standard library, and what to do instead."""
LIBRARIES_OF_LEDGER = {"msgspec", "nacl"}
DATABASES = {"plyvel", "plyvel_next"}
INPUT_AND_OUTPUT = {"glob", "io", "logging", "os", "pathlib", "shutil", "tempfile"}
"""Modules that the file in front of LevelDB may use and the rest of the ledger may not."""

CALLS_NOT_IN_LEDGER = {
    "eval": ("dynamic", "say it in code that the checks can read"),
    "exec": ("dynamic", "say it in code that the checks can read"),
    "__import__": ("dynamic", "import by name, so that the checks see it"),
    "float": ("float", "count in integers, in the smallest unit"),
    "complex": ("float", "count in integers, in the smallest unit"),
    "hash": ("hash", "its value differs between runs; use a hash of ledger.crypto"),
    "id": ("id", "an address means nothing elsewhere; use the record's key"),
    "input": ("io", "do input and output through the Store"),
    "open": ("io", "do input and output through the Store"),
    "print": ("io", "return what happened; the service writes it down"),
}

READERS = {("registry", name) for name in ("client", "client.py", "formats", "formats.py")}
MODULES_FOR_READERS = {
    *("ledger.messages", "ledger.merkle", "ledger.rules.swarms", "ledger.codec", "ledger.crypto"),
    *("ledger.params", "ledger.errors", "ledger.types"),
}

SET_TYPES = {"set", "frozenset", "Set", "AbstractSet", "FrozenSet", "MutableSet", "KeysView"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.BitXor, ast.Sub)
VIEWS = {"keys", "items"}
WALKING_CALLS = {"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "deque"}
WALKING_METHODS = {"join", "fromkeys", "extend"}
SORT_FIRST = "a set has no order of its own; walk through sorted(...) of it"


@dataclass(frozen=True, order=True)
class Finding:
    """A place where a rule is broken."""

    path: Path
    line: int
    rule: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.instead}"


Rule = Callable[[Path, ast.Module], Iterator[Finding]]


def main(arguments: list[str]) -> int:
    """Check the tree and print what is found."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    findings = sorted(check_tree(root))
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def check_tree(root: Path) -> Iterator[Finding]:
    """Every rule over every file that it is for."""
    for path in our_files(root):
        yield from check_file(path.relative_to(root), path.read_text(encoding="utf-8"))


def our_files(folder: Path) -> Iterator[Path]:
    """Code and prose, without what others wrote and tools left."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or path.is_symlink():
            continue
        if path.is_dir():
            yield from our_files(path)
        elif path.suffix in TEXT_SUFFIXES or (not path.suffix and folder.name in SCRIPT_FOLDERS):
            yield path


def check_file(path: Path, text: str) -> Iterator[Finding]:
    """Every rule that is for this file; `path` is relative to the root of the project."""
    yield from find_unfinished(path, text)
    if path.suffix != ".py" or path.parts[0] not in PACKAGES:
        return
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield Finding(path, error.lineno or 1, "syntax", "write what Python can parse")
        return
    if not path.stem.endswith("_pb2"):
        yield from find_long_file(path, text)
        yield from find_long_functions(path, tree)
    if path.parts[0] == "ledger":
        for rule in LEDGER_RULES:
            yield from rule(path, tree)
    if path.parts[:2] in READERS:
        yield from find_reader_imports(path, tree)


# ---- The whole repository ----


def find_unfinished(path: Path, text: str) -> Iterator[Finding]:
    """Nothing is left for later in a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield Finding(path, number, "unfinished", "finish it, or open an issue for it")


def find_long_file(path: Path, text: str) -> Iterator[Finding]:
    """A file fits into a reader's head."""
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield Finding(path, lines, "file-length", f"split it: more than {FILE_LINES} lines")


def find_long_functions(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """A function fits on a screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                instead = f"split {node.name}: more than {FUNCTION_LINES} lines"
                yield Finding(path, node.lineno, "function-length", instead)


# ---- The client and the formats ----


def find_reader_imports(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Who reads lists takes of the ledger only what checks them."""
    for line, name in imported_names(tree):
        if name.split(".")[0] == "ledger" and not is_for_readers(name):
            instead = f"{name}: a reader takes only {', '.join(sorted(MODULES_FOR_READERS))}"
            yield Finding(path, line, "reader-import", instead)


def is_for_readers(name: str) -> bool:
    """Whether a dotted name is one of the modules for readers, or inside one."""
    return any(name == module or name.startswith(module + ".") for module in MODULES_FOR_READERS)


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where a file imports what, by its full dotted name; imports of its own package left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


# ---- The ledger ----


def find_floats(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """No float ever touches the ledger."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield Finding(path, node.lineno, "float", "count in integers, in the smallest unit")


def find_true_division(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """`/` makes a float even of two integers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield Finding(path, node.lineno, "division", "use //, and say where the rest goes")


def find_imports(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """The ledger does no I/O but through the Store, and takes nothing from outside."""
    modules = {(line, name.partition(".")[0]) for line, name in imported_names(tree)}
    for line, module in sorted(modules):
        instead = instead_of_import(path, module)
        if instead is not None:
            yield Finding(path, line, "import", instead)


def instead_of_import(path: Path, module: str) -> str | None:
    """What to do instead of importing a top-level module into a file of the ledger, if anything."""
    if path == LEVELDB and module in DATABASES | INPUT_AND_OUTPUT:
        return None
    if module in DATABASES:
        return f"{module}: only {LEVELDB} sees the database; use the Store"
    if module in NOT_IN_LEDGER:
        return f"{module}: {NOT_IN_LEDGER[module]}"
    if module in sys.stdlib_module_names or module == "ledger" or module in LIBRARIES_OF_LEDGER:
        return None
    return f"{module}: the ledger stands on {', '.join(sorted(LIBRARIES_OF_LEDGER))} alone"


def find_calls(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Builtins whose result differs between runs or machines, or leaves the process."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        rule, instead = CALLS_NOT_IN_LEDGER.get(node.func.id, ("", ""))
        if rule and not (rule == "io" and path == LEVELDB):
            yield Finding(path, node.lineno, rule, f"{node.func.id}(): {instead}")


def find_set_walks(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """A set of bytes or strings comes in another order in every run."""
    attributes = set(annotated_attributes(tree))
    for scope, outer in scopes(tree, frozenset()):
        is_set = SetDetector(scope, outer, attributes).is_set
        for node in own_nodes(scope):
            for walked in walked_by(node):
                if is_set(walked):
                    yield Finding(path, walked.lineno, "set-order", SORT_FIRST)


LEDGER_RULES: tuple[Rule, ...] = (
    find_floats,
    find_true_division,
    find_imports,
    find_calls,
    find_set_walks,
)


def walked_by(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions that this node goes through in their own order."""
    match node:
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            yield node.iter
        case ast.Starred() | ast.YieldFrom():
            if node.value is not None:
                yield node.value
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value):
            yield value
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in WALKING_CALLS:
            yield from arguments
        case ast.Call(func=ast.Attribute(attr=name), args=arguments) if name in WALKING_METHODS:
            yield from arguments
        case ast.Call(func=ast.Attribute(attr="pop", value=value), args=[]):
            yield value


Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def scopes(scope: Scope, outer: frozenset[str]) -> Iterator[tuple[Scope, frozenset[str]]]:
    """Every scope of a file, with the names of sets that it sees from outside."""
    yield scope, outer
    names = outer if isinstance(scope, ast.ClassDef) else names_of_sets(scope, outer)
    for node in own_nodes(scope):
        if isinstance(node, Scope):
            yield from scopes(node, names)


def own_nodes(scope: Scope) -> Iterator[ast.AST]:
    """What belongs to a scope: all below it, but not what is inside an inner scope."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Scope):
            waiting.extend(ast.iter_child_nodes(node))


def names_of_sets(scope: Scope, outer: frozenset[str]) -> frozenset[str]:
    """The names that hold sets in a scope, inherited ones included unless it gives them anew."""
    detector = SetDetector(scope, outer, set())
    return frozenset(detector.names)


def annotated_attributes(tree: ast.Module) -> Iterator[str]:
    """Attributes that this file declares as sets, in a class body or on `self`."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body):
                declared = [line for line in body if isinstance(line, ast.AnnAssign)]
            case ast.AnnAssign(target=ast.Attribute()):
                declared = [node]
            case _:
                continue
        for line in declared:
            if is_set_type(line.annotation):
                yield from target_names(line.target)


class SetDetector:
    """Tells which expressions of one scope are sets."""

    def __init__(self, scope: Scope, outer: frozenset[str], attributes: set[str]) -> None:
        self.attributes = attributes
        self.names = set(outer)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            self._take_arguments(scope.args)
        assignments = [node for node in own_nodes(scope) if isinstance(node, ASSIGNMENTS)]
        for node in sorted(assignments, key=lambda node: (node.lineno, node.col_offset)):
            self._take_assignment(node)

    def _take_arguments(self, arguments: ast.arguments) -> None:
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            self.names.discard(argument.arg)
            if argument.annotation is not None and is_set_type(argument.annotation):
                self.names.add(argument.arg)

    def _take_assignment(self, node: "Assignment") -> None:
        annotated = isinstance(node, ast.AnnAssign) and is_set_type(node.annotation)
        holds_set = annotated or (node.value is not None and self.is_set(node.value))
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if holds_set:
            self.names.update(target.id for target in targets if isinstance(target, ast.Name))

    def is_set(self, node: ast.expr) -> bool:
        """Whether an expression is a set, as far as this file says."""
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return name in self.names
            case ast.Attribute(attr=name):
                return name in self.attributes
            case ast.Call(func=ast.Name(id=name)):
                return name in {"set", "frozenset"}
            case ast.Call(func=ast.Attribute(attr=name)) if name in SET_METHODS:
                return True
            case ast.Call(func=ast.Attribute(attr="copy", value=value)):
                return self.is_set(value)
            case ast.BinOp(left=left, op=operator, right=right):
                return isinstance(operator, SET_OPERATORS) and (
                    self._joins_as_set(left) or self._joins_as_set(right)
                )
            case ast.IfExp(body=first, orelse=second):
                return self.is_set(first) or self.is_set(second)
            case ast.BoolOp(values=values):
                return any(self.is_set(value) for value in values)
            case ast.NamedExpr(value=value):
                return self.is_set(value)
        return False

    def _joins_as_set(self, node: ast.expr) -> bool:
        # A dictionary's view keeps its order until an operator makes a set of it.
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[]) if name in VIEWS:
                return True
        return self.is_set(node)


Assignment = ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.AugAssign
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.AugAssign)


def target_names(target: ast.expr) -> Iterator[str]:
    """The name that an assignment gives, to a variable or an attribute."""
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name


def is_set_type(annotation: ast.expr) -> bool:
    """Whether an annotation is a set, or a set among other choices."""
    match annotation:
        case ast.Constant(value=str(text)):
            return is_set_type(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SET_TYPES
        case ast.Subscript(value=value, slice=inner):
            wrapper = value.id if isinstance(value, ast.Name) else ""
            if wrapper in {"Annotated", "ClassVar", "Final", "Optional"}:
                return is_set_type(inner.elts[0] if isinstance(inner, ast.Tuple) else inner)
            return is_set_type(value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_set_type(left) or is_set_type(right)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
