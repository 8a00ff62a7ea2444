#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of docs/examples/proxy.c: real sockets on 127.0.0.1, contents compared, threads and descriptors of the proxy
counted in /proc. Writes TAP. Every wait has an end, so that a hang is a failure with a name.

    proxy.py PROXY [sanitized]      sanitized: the memory is not the proxy's own
"""
import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
import tap  # noqa: E402, beside this file

LIMIT_S = 20
EPOCH_S = 0.2
HOST = "127.0.0.1"


class Upstream:
    """Serves each connection with `serve` in a thread of its own; keeps what those raise."""

    def __init__(self, serve):
        self.serve, self.errors, self.ended = serve, [], threading.Semaphore(0)
        self.listener = socket.create_server((HOST, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection):
        connection.settimeout(LIMIT_S)
        try:
            with connection:
                self.serve(connection)
        except Exception as error:  # whatever it is, the test has to see it
            self.errors.append(error)
        self.ended.release()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # or accept() in the thread goes on
        except OSError:
            pass  # it has been closed before
        self.listener.close()


class Proxy:
    def __init__(self, serve, *options):
        self.upstream = Upstream(serve)
        self.process = subprocess.Popen([PROGRAM, *options, "0", str(self.upstream.port)], stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline().split()[-1])
        self.descriptors_before = self.descriptors()

    def connect(self):
        connection = socket.create_connection((HOST, self.port), LIMIT_S)
        return connection

    def status(self, key):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(key + ":"))

    def threads(self):
        return self.status("Threads")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        """The end is part of every test: nothing left, nothing in use, the exit code 0."""
        try:
            if kind is None:
                until(lambda: self.descriptors() == self.descriptors_before, "descriptors are left")
                self.process.send_signal(signal.SIGTERM)
                code = self.process.wait(LIMIT_S)
                expect(code == 0, f"the proxy ended with {code}")
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.upstream.close()


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def until(condition, text, limit=LIMIT_S):
    end = time.monotonic() + limit
    while not condition():
        expect(time.monotonic() < end, text)
        time.sleep(0.01)


def receive_all(connection):
    pieces = []
    while piece := connection.recv(random.choice((1, 700, 65536))):
        pieces.append(piece)
    return b"".join(pieces)


def content(n, seed):
    return random.Random(seed).randbytes(n)


def in_threads(count, run):
    errors = []

    def one(number):
        try:
            run(number)
        except Exception as error:  # handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S * 3)
        expect(not thread.is_alive(), "a client hangs")
    if errors:
        raise errors[0]


def echo(connection):
    while piece := connection.recv(65536):
        connection.sendall(piece)


def echo_once(proxy, data):
    """Sends and receives at the same time: more than what fits between the two ends."""
    with proxy.connect() as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        answer = receive_all(client)
        sender.join()
    expect(answer == data, f"{len(answer)} bytes of {len(data)} came back, or others")


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# ---- contents ----

def contents_both_ways():
    with Proxy(echo) as proxy:
        in_threads(24, lambda i: echo_once(proxy, content(random.randrange(1 << 20), i)))


def empty_connections():
    with Proxy(echo) as proxy:
        for i in range(50):
            echo_once(proxy, b"")
        expect(not proxy.upstream.errors, proxy.upstream.errors)


def half_close_by_the_client():
    """The upstream answers after the client's end only."""
    def serve(connection):
        data = receive_all(connection)
        connection.sendall(hashlib.sha256(data).digest() + data[::-1])

    with Proxy(serve) as proxy:
        for n in (0, 1, 100_000, 3_000_000):
            data = content(n, n)
            with proxy.connect() as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                answer = receive_all(client)
            expect(answer == hashlib.sha256(data).digest() + data[::-1], f"{n} bytes")


def half_close_by_the_upstream():
    received = []

    def serve(connection):
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        received.append(receive_all(connection))

    with Proxy(serve) as proxy:
        data = content(500_000, 1)
        with proxy.connect() as client:
            expect(receive_all(client) == b"hello", "no hello")
            client.sendall(data)
        expect(proxy.upstream.ended.acquire(timeout=LIMIT_S), "the upstream hangs")
        expect(received == [data], "what came after the upstream's end is lost")


# ---- what breaks ----

def expect_reset(connection):
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return
    raise AssertionError("a reset arrived as a good end")


def resets_by_the_client():
    """The upstream learns that it was no good end, idle and in the middle of data in either direction."""
    reached = threading.Semaphore(0)

    def serve(connection):
        what = connection.recv(1)
        reached.release()
        if what == b"d":
            try:
                while True:
                    connection.sendall(bytes(65536))
            except (ConnectionResetError, BrokenPipeError):
                return
        expect_reset(connection)

    with Proxy(serve) as proxy:
        for what in (b"i", b"u", b"d") * 10:
            client = proxy.connect()
            client.sendall(what)
            if what == b"u":
                client.sendall(bytes(300_000))
            if what == b"d":
                client.recv(1000)
            expect(reached.acquire(timeout=LIMIT_S), f"the upstream was not reached ({what})")
            reset(client)
            expect(proxy.upstream.ended.acquire(timeout=LIMIT_S), f"the upstream hangs ({what})")
        expect(not proxy.upstream.errors, proxy.upstream.errors)


def resets_by_the_upstream():
    def serve(connection):
        connection.recv(1)
        connection.sendall(b"x" * 1000)
        reset(connection)

    with Proxy(serve) as proxy:
        for i in range(30):
            with proxy.connect() as client:
                client.sendall(b"1")
                expect_reset(client)


def reset_after_a_half_close():
    """One direction has ended, the other has nothing to say: only the reset itself can wake the worker."""
    seen = []

    def serve(connection):
        expect(receive_all(connection) == b"", "no end")
        seen.append(1)
        try:
            while not connection.recv(1):
                connection.sendall(b"")
                time.sleep(0.01)
                error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    return
        except ConnectionResetError:
            return

    with Proxy(serve) as proxy:
        client = proxy.connect()
        client.shutdown(socket.SHUT_WR)
        until(lambda: seen, "the half-close was not passed on")
        reset(client)
        expect(proxy.upstream.ended.acquire(timeout=LIMIT_S), "the reset was not passed on")


def no_upstream():
    with Proxy(echo) as proxy:
        proxy.upstream.close()
        time.sleep(0.05)
        for i in range(20):
            try:
                with proxy.connect() as client:  # which may hear of it here already
                    expect(client.recv(1) == b"", "bytes from nowhere")
            except ConnectionResetError:
                pass


def slow_readers():
    """They hold what the kernel holds for them and 32 KiB of the proxy, and nobody else waits for them."""
    size, count = 6_000_000, 24
    data = content(size, 5)

    def serve(connection):
        if connection.recv(1) == b"b":
            connection.sendall(data)
        else:
            connection.sendall(b"quick")

    with Proxy(serve) as proxy:
        before = proxy.status("VmRSS")
        clients = [proxy.connect() for _ in range(count)]
        for client in clients:
            client.sendall(b"b")
        time.sleep(0.5)
        with proxy.connect() as quick:
            start = time.monotonic()
            quick.sendall(b"q")
            expect(receive_all(quick) == b"quick" and time.monotonic() - start < 5, "a quick one waits")
        grown = proxy.status("VmRSS") - before
        expect(grown < 8000 or SANITIZED, f"{grown} KiB more for {count} slow readers")

        def read(number):
            with clients[number] as client:
                expect(receive_all(client) == data, "content")
        in_threads(count, read)


# ---- workers ----

def hold(proxy, count):
    clients = [proxy.connect() for _ in range(count)]
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        expect(client.recv(1) == b"x", "no echo")
    return clients


def load_and_fall(proxy, count):
    """How long the workers of so many connections outlived these."""
    clients = hold(proxy, count)
    threads = proxy.threads()
    expect(threads >= count + 1, f"{threads} threads for {count} connections")
    fallen = time.monotonic()
    for client in clients:
        client.close()
    until(lambda: proxy.threads() == 1, "threads are left")
    took = time.monotonic() - fallen
    expect(took > EPOCH_S * 0.9, f"gone after {took} s: they were not pooled")
    return took


def S5_workers_follow_the_load_up_and_two_epochs_later_down():
    with Proxy(echo, "-e", str(int(EPOCH_S * 1000))) as proxy:
        expect(proxy.threads() == 1, "threads before any load")
        for count in (40, 10, 60):
            # On time, unless the machine was busy with other things: once, not each time.
            took = [load_and_fall(proxy, count)]
            while took[-1] >= EPOCH_S * 2 + 1:
                expect(len(took) < 5, f"gone only after {took} s")
                took.append(load_and_fall(proxy, count))


def S5_workers_are_used_again():
    with Proxy(echo, "-e", "60000") as proxy:
        for i in range(200):
            echo_once(proxy, b"again")
        # A connection may come before the last one's worker is back, and on a busy machine the next one before both are.
        threads = proxy.threads()
        expect(threads <= 20, f"{threads} threads for 200 connections, one at a time")


def S5_one_worker_stays_while_one_is_in_use():
    with Proxy(echo, "-e", str(int(EPOCH_S * 1000))) as proxy:
        clients = hold(proxy, 30)
        for client in clients[1:]:
            client.close()
        until(lambda: proxy.threads() == 2, "threads are left, or too few")
        time.sleep(EPOCH_S * 3)
        expect(proxy.threads() == 2, "the worker of a connection was dismissed")
        clients[0].sendall(b"still")
        expect(clients[0].recv(5) == b"still", "no echo after the others have gone")
        clients[0].close()


def S5_put_back_and_dismissed_at_once():
    """The shortest epochs: workers are dismissed, called and put back all at the same time."""
    with Proxy(echo, "-e", "10") as proxy:
        def many(number):
            for i in range(150):
                echo_once(proxy, content(i * 7, number))
                if i % 10 == 0:
                    time.sleep(random.uniform(0.01, 0.04))
        in_threads(8, many)
        until(lambda: proxy.threads() == 1, "threads are left")
        expect(not proxy.upstream.errors, proxy.upstream.errors)


def workers_are_limited():
    with Proxy(echo, "-w", "4") as proxy:
        most = []

        def one(number):
            echo_once(proxy, content(50_000, number))
            most.append(proxy.threads())
        in_threads(20, one)
        expect(max(most) <= 5, f"{max(most)} threads")


def an_end_amid_connections():
    """Asked to end, it serves what it has."""
    with Proxy(echo) as proxy:
        clients = hold(proxy, 5)
        proxy.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        for client in clients:
            client.sendall(b"last words")
            client.shutdown(socket.SHUT_WR)
            expect(receive_all(client) == b"last words", "cut off")
            client.close()
        expect(proxy.process.wait(LIMIT_S) == 0, "exit code")
        proxy.descriptors = lambda: proxy.descriptors_before


TESTS = [contents_both_ways, empty_connections, half_close_by_the_client, half_close_by_the_upstream,
         resets_by_the_client, resets_by_the_upstream, reset_after_a_half_close, no_upstream, slow_readers,
         S5_workers_follow_the_load_up_and_two_epochs_later_down, S5_workers_are_used_again,
         S5_one_worker_stays_while_one_is_in_use, S5_put_back_and_dismissed_at_once, workers_are_limited,
         an_end_amid_connections]


if __name__ == "__main__":
    PROGRAM, SANITIZED = sys.argv[1], "sanitized" in sys.argv[2:]
    sys.exit(tap.run(TESTS))
