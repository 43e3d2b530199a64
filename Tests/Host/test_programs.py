"""Ordinary programs work at the strictest level: a sandbox that breaks them is one that people switch off."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import PATIENCE

SCRIPTS = {
    "threads": """
        import threading, queue
        results = queue.Queue()
        threads = [threading.Thread(target=lambda n=n: results.put(n * n)) for n in range(50)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(sum(results.get() for _ in range(50)))
    """,
    "subprocess": """
        import subprocess
        print(subprocess.run("echo a b | tr a-z A-Z; exit 3", shell=True, capture_output=True, text=True))
    """,
    "sqlite3": """
        import sqlite3
        for place in (":memory:", "/tmp/data.sqlite"):
            base = sqlite3.connect(place)
            base.execute("pragma journal_mode=wal")
            base.execute("create table t (n integer)")
            with base:
                base.executemany("insert into t values (?)", [(n,) for n in range(100)])
            print(base.execute("select sum(n) from t").fetchone()[0])
    """,
    "ssl": """
        import ssl, hashlib, secrets
        context = ssl.create_default_context()
        print(context.verify_mode.name, hashlib.sha256(b"x").hexdigest()[:8], len(secrets.token_bytes(16)))
    """,
    "tempfile": """
        import tempfile, os, mmap
        with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096); file.flush()
            print(mmap.mmap(file.fileno(), 4096)[:3], os.path.dirname(folder))
        with tempfile.TemporaryFile() as file:
            file.write(b"y"); print(file.tell())
    """,
    "multiprocessing": """
        import multiprocessing
        def square(n): return n * n
        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                print(sum(pool.map(square, range(10))))
            shared = multiprocessing.Value("i", 0)
            with shared.get_lock(): shared.value += 1
            from multiprocessing import shared_memory
            block = shared_memory.SharedMemory(create=True, size=64); block.buf[0] = 7
            print(shared.value, block.buf[0]); block.close(); block.unlink()
    """,
    "asyncio": """
        import asyncio, socket
        async def main():
            async def answer(reader, writer):
                writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
            server = await asyncio.start_unix_server(answer, "/tmp/socket")
            reader, writer = await asyncio.open_unix_connection("/tmp/socket")
            writer.write(b"hello\\n"); print((await reader.readline()).decode().strip()); writer.close()
            child = await asyncio.create_subprocess_exec("true"); print(await child.wait())
        asyncio.run(main())
    """,
    "signals": """
        import signal, os, time
        seen = []
        signal.signal(signal.SIGUSR1, lambda *_: seen.append(1)); os.kill(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGALRM, lambda *_: seen.append(2)); signal.setitimer(signal.ITIMER_REAL, 0.01)
        while len(seen) < 2: time.sleep(0.01)
        print(seen, os.cpu_count() > 0, time.time() > 0, len(os.urandom(8)))
    """,
}
EXPECTED = {
    "threads": "40425",
    "subprocess": "CompletedProcess(args='echo a b | tr a-z A-Z; exit 3', returncode=3, stdout='A B\\n', stderr='')",
    "sqlite3": "4950\n4950",
    "ssl": "CERT_REQUIRED 2d711642 16",
    "tempfile": "b'xxx' /tmp\n1",
    "multiprocessing": "285\n1 7",
    "asyncio": "HELLO\n0",
    "signals": "[1, 2] True True 8",
}


# The name of a file must not be a module's: Python finds the script's folder first.
def write(caller, folder, name, text):
    """A script without the margin it has in this file."""
    lines = text.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    file = folder / name
    file.write_text("\n".join(line[margin:] for line in lines).rstrip() + "\n")
    file.chmod(0o755)
    caller.own(file)
    return file


@pytest.mark.parametrize("name", SCRIPTS)
def test_python(caller, folder, name):
    script = write(caller, folder, f"bot_{name}.py", "        #!/usr/bin/python3" + SCRIPTS[name])
    done = caller.run(image=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == EXPECTED[name]


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["direct", "init"])
@pytest.mark.parametrize(
    "script, expected",
    [
        ("seq 1 100 | awk '{s += $1} END {print s}'", "5050"),
        ("echo b a c | tr ' ' '\\n' | sort | head -n 1", "a"),
        ("yes | head -n 3 | wc -l", "3"),
        ("cat <<E | sed s/x/y/\nx\nE", "y"),
        ("echo $(echo $(echo deep))", "deep"),
        ("for n in 1 2 3; do (exit $n) & wait $!; echo $?; done | tr '\\n' ' '", "1 2 3"),
        ("mkdir /tmp/d && cd /tmp/d && echo x > a && cp a b && tar c a b | tar t | tr '\\n' ' '", "a b"),
        ("echo data | gzip | gunzip", "data"),
        ("mkfifo /tmp/p; (echo through > /tmp/p &); cat /tmp/p", "through"),
    ],
    ids=["awk", "sort", "sigpipe", "here", "nested", "wait", "tar", "gzip", "fifo"],
)  # fmt: skip
def test_busybox(caller, script, expected, init):
    done = caller.sh(script, *init)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr


def test_script_arguments_and_status(caller, folder):
    """A script gets its arguments, its own name, and its input."""
    script = write(caller, folder, "bot.sh", '#!/bin/sh\nread line; echo "$# $1 $line"; exit 9')
    done = caller.run(image=script, command=["one", "two"], input="typed\n")
    assert (done.returncode, done.stdout) == (9, "2 one typed\n"), done.stderr


def test_bot(caller, folder):
    """The ordinary case: data from a read-only volume, a report into a writable one."""
    for name in ("in", "out"):
        (folder / name).mkdir()
    (folder / "in/data.csv").write_text("name,value\na,1\nb,41\n")
    caller.own(folder)
    script = write(caller, folder, "bot.py", """
        import csv
        total = sum(int(row["value"]) for row in csv.DictReader(open("/in/data.csv")))
        open("/out/report", "w").write(f"{total}\\n")
        print("done", flush=True)
    """)  # fmt: skip
    done = caller.run("-v", f"{folder}/in:/in:ro", "-v", f"{folder}/out:/out:rw", image=script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert (folder / "out/report").read_text() == "42\n"


def run_alone(caller, folder, program):
    """A compiled program of one file, as its own image's only content."""
    image = folder / "image"
    image.mkdir()
    shutil.copy(program, image / "bot")
    (image / "bot").chmod(0o755)
    caller.own(image)
    return caller.run(image=image, command=["/bot"])


RUST = """
use std::{fs, io::{BufRead, BufReader, Write}, os::unix::net, process, sync::mpsc, thread};
fn main() {
    if std::env::args().count() > 1 { return; } // its own child
    let (give, take) = mpsc::channel();
    for n in 0..20u64 { let give = give.clone(); thread::spawn(move || give.send(n * n).unwrap()); }
    drop(give);
    let sum: u64 = take.iter().sum();
    let (mut one, other) = net::UnixStream::pair().unwrap();
    thread::spawn(move || one.write_all(b"hello\\n").unwrap());
    let mut met = String::new();
    BufReader::new(other).read_line(&mut met).unwrap();
    fs::write("/tmp/file", "kept").unwrap();
    let child = process::Command::new("/proc/self/exe").arg("child").output();
    print!("{sum} {met}{} {}", fs::read_to_string("/tmp/file").unwrap(), child.is_ok());
    process::exit(11);
}
"""


def test_rust_static_binary(caller, folder, tmp_path):
    compiler = shutil.which("rustc") or next(iter(map(str, pathlib.Path.home().glob(".cargo/bin/rustc"))), None)
    if compiler is None:
        pytest.skip("rustc is not installed")
    (tmp_path / "bot.rs").write_text(RUST)
    built = subprocess.run(
        [compiler, "-O", "-C", "target-feature=+crt-static", "-o", tmp_path / "bot", tmp_path / "bot.rs"],
        capture_output=True, text=True, timeout=4 * PATIENCE, check=False, env=os.environ | {"HOME": str(pathlib.Path.home())},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    done = run_alone(caller, folder, tmp_path / "bot")
    assert done.returncode == 11, done.stderr
    assert done.stdout == "2470 hello\nkept true"


GO = """
package main

import ("fmt"; "net"; "os"; "os/exec"; "runtime"; "time")

func main() {
	if len(os.Args) > 1 { fmt.Print("child"); return }
	numbers := make(chan int)
	for n := 0; n < 100; n++ { go func(n int) { time.Sleep(time.Millisecond); numbers <- n }(n) }
	sum := 0
	for n := 0; n < 100; n++ { sum += <-numbers }
	runtime.GC()
	listener, err := net.Listen("unix", "/tmp/socket")
	if err != nil { fmt.Println(err); os.Exit(1) }
	go func() { peer, _ := listener.Accept(); peer.Write([]byte("hello")); peer.Close() }()
	peer, err := net.Dial("unix", "/tmp/socket")
	if err != nil { fmt.Println(err); os.Exit(1) }
	met := make([]byte, 5)
	peer.Read(met)
	os.WriteFile("/tmp/file", []byte("kept"), 0o600)
	kept, _ := os.ReadFile("/tmp/file")
	child, err := exec.Command("/bot", "child").Output()
	fmt.Print(sum, " ", string(met), " ", string(kept), " ", string(child), " ", err)
	os.Exit(13)
}
"""


def test_go_static_binary(caller, place, folder, tmp_path):
    """Its runtime uses the kernel without libc: clone with its own stacks, futexes, epoll, timers, signals to threads."""
    (tmp_path / "bot.go").write_text(GO)
    built = subprocess.run(
        ["/usr/bin/go", "build", "-o", tmp_path / "bot", tmp_path / "bot.go"], capture_output=True, text=True,
        # Its own library is compiled first, by whichever caller comes first.
        timeout=4 * PATIENCE, check=False,
        env=os.environ | {"CGO_ENABLED": "0", "GOCACHE": str(place / "go-cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    done = run_alone(caller, folder, tmp_path / "bot")
    assert done.returncode == 13, done.stderr
    assert done.stdout == "4950 hello kept child <nil>"


def test_node(caller, folder):
    if not (os.path.exists("/usr/bin/node") or os.path.exists("/usr/local/bin/node")):
        pytest.skip("node is not installed")
    script = write(caller, folder, "bot.js", """
        #!/usr/bin/env node
        const { Worker } = require('node:worker_threads'), fs = require('node:fs'), { execFileSync } = require('node:child_process');
        fs.writeFileSync('/tmp/file', 'kept');
        const worker = new Worker("require('node:worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
        worker.on('message', number => {
            const digest = require('node:crypto').createHash('sha256').update('x').digest('hex').slice(0, 8);
            console.log(number, fs.readFileSync('/tmp/file', 'utf8'), digest, execFileSync('echo', ['child']).toString().trim());
            process.exitCode = 12;
        });
    """)  # fmt: skip
    done = caller.run(image=script)
    assert (done.returncode, done.stdout) == (12, "42 kept 2d711642 child\n"), done.stderr


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_a_filter_from_before_close_range(caller, folder, level):
    """A list of before Linux 5.9 refuses close_range(2): what the program has no business with is closed before it is in force."""
    profile = folder / "profile.json"
    rules = [{"names": ["close_range"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    caller.own(profile)
    done = caller.sh("ls /proc/self/fd", "--seccomp", profile, level=level)
    # The fourth is ls(1)'s own, of the folder.
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2", "3"]), done.stderr
