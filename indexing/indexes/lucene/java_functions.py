"""Java method handles, composed into one function that runs inside Java without Java code of our own.

A call from Python into Java takes some 10 microseconds, and an array is copied item by item. Method handles
(`java.lang.invoke`) compose in Java: parse, search and print become one function from text to text, which a Java stream
maps over a batch on all cores. Build them within `indexing.indexes.lucene.jvm.java_calls`.
"""

from functools import reduce
from typing import Any

from indexing.indexes.lucene.jvm import java_class

SEPARATOR = "\x01"

_STREAM = "java/util/stream/"


def method(owner: str, name: str, descriptor: str, *, static: bool = False) -> Any:
    """Return the handle of a public method; unless it is static, its first parameter is the object.

    `descriptor` is a JVM method descriptor: ``(ILjava/lang/String;)V``.
    """
    find = _lookup().findStatic if static else _lookup().findVirtual
    return find(_class(owner), name, _type(descriptor))


def constructor(owner: str, descriptor: str) -> Any:
    """Return the handle of a public constructor; it returns the new object."""
    return _lookup().findConstructor(_class(owner), _type(descriptor))


def getter(owner: str, name: str, descriptor: str) -> Any:
    """Return the handle that reads a public field of this type; it takes the object."""
    import jnius

    kind = jnius.cast("java.lang.Class", _type(f"(){descriptor}").returnType())
    return _lookup().findGetter(_class(owner), name, kind)


def bind(handle: Any, position: int, *values: Any) -> Any:
    """Bind values to the parameters from this position on; return a handle of the remaining ones."""
    text = java_class("java.lang.String")
    # If the first argument is a `str`, pyjnius passes all as an array of strings.
    objects = [text(value) if isinstance(value, str) else value for value in values]
    return _handles().insertArguments(handle, position, *objects)


def read_from(handle: Any, position: int, holder: Any, descriptor: str) -> Any:
    """Bind the parameter at this position to what an ``AtomicReference`` holds at the time of each call.

    `descriptor` is the parameter's type.
    """
    reference = "java.util.concurrent.atomic.AtomicReference"
    kind = f"(L{reference.replace('.', '/')};){descriptor}"
    held = method(reference, "get", "()Ljava/lang/Object;").asType(_type(kind))
    return bind(_handles().filterArguments(handle, position, held), position, holder)


def supply(handle: Any, make: Any) -> Any:
    """Bind the first parameter to the result of the handle `make`, which is called at each call."""
    return _handles().foldArguments(handle, make)


def compose(*handles: Any) -> Any:
    """Compose handles of one parameter each, from first to last: each takes the result of the one before."""
    generic = java_class("java.lang.invoke.MethodType").genericMethodType(1)
    return reduce(_handles().filterReturnValue, (handle.asType(generic) for handle in handles))


def combine(join: Any, first: Any, second: Any) -> Any:
    """Return the handle from a value to ``join(first(value), second(value))``."""
    method_type = java_class("java.lang.invoke.MethodType")
    unary, binary = method_type.genericMethodType(1), method_type.genericMethodType(2)
    filtered = _handles().filterArguments(join.asType(binary), 1, second.asType(unary))
    return _handles().foldArguments(filtered, first.asType(unary))


def identity() -> Any:
    """Return the handle of the identity function."""
    return _handles().identity(_class("java.lang.Object"))


def as_function(handle: Any) -> Any:
    """Convert a handle of one parameter to a ``java.util.function.Function``."""
    proxies = java_class("java.lang.invoke.MethodHandleProxies")
    return proxies.asInterfaceInstance(_class("java.util.function.Function"), handle)


def for_each_part(function: Any) -> Any:
    """Return the ``Function`` that maps another over the parts of a text on all cores and joins the results as lines.

    `SEPARATOR` separates the parts; none may be empty.
    """
    import jnius

    text = java_class("java.lang.String")
    split = method("java.lang.String", "split", "(Ljava/lang/String;)[Ljava/lang/String;")
    stream = method("java.util.Arrays", "stream", f"([Ljava/lang/Object;)L{_STREAM}Stream;", static=True)
    parallel = method("java.util.stream.BaseStream", "parallel", f"()L{_STREAM}BaseStream;")
    mapped = method("java.util.stream.Stream", "map", f"(Ljava/util/function/Function;)L{_STREAM}Stream;")
    collect = method("java.util.stream.Stream", "collect", f"(L{_STREAM}Collector;)Ljava/lang/Object;")
    newline = jnius.cast("java.lang.CharSequence", text("\n"))
    joining = java_class("java.util.stream.Collectors").joining(newline)
    return as_function(
        compose(bind(split, 1, SEPARATOR), stream, parallel, bind(mapped, 1, function), bind(collect, 1, joining))
    )


def each_part(*handles: Any) -> Any:
    """Return the ``Function`` that applies these handles, one after the other, to each part of a text."""
    return for_each_part(as_function(compose(*handles)))


def as_text() -> Any:
    """Return the handle from a value to its text."""
    return method("java.lang.String", "valueOf", "(Ljava/lang/Object;)Ljava/lang/String;", static=True)


def java_text(text: str) -> str:
    """Replace halves of surrogate pairs, which pyjnius cannot pass to Java."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def part_text(text: str) -> str:
    """Replace what a part of a text cannot contain: as `java_text`, and `SEPARATOR`."""
    return java_text(text).replace(SEPARATOR, " ")


def _handles() -> Any:
    return java_class("java.lang.invoke.MethodHandles")


def _lookup() -> Any:
    return _handles().publicLookup()


def _class(name: str) -> Any:
    import jnius

    return jnius.find_javaclass(name)


def _type(descriptor: str) -> Any:
    return java_class("java.lang.invoke.MethodType").fromMethodDescriptorString(descriptor, None)
