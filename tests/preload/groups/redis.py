# SPDX-License-Identifier: BSD-2-Clause
"""redis-server: values of many sizes, read back; the same after a reload from disk. Debian's redis links jemalloc.

Run as a program: redis.py KEYS drives a server in the current directory and prints what it got. The server's program
comes in Debian's redis-tools under the name redis-check-rdb (it looks at what it was called); the package
redis-server would start a service. Times and process ids are in the server's files: removed, their contents having
been checked through the reload.
"""
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time

SOCKET = 'redis.sock'
ROW = 50


class Client:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(SOCKET)
        self.stream = self.socket.makefile('rb')

    def send(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in words))

    def answer(self):
        line = self.stream.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b'$':
            return None if rest == b'-1' else self.stream.read(int(rest) + 2)[:-2]
        if kind == b'*':
            return [self.answer() for _ in range(int(rest))]
        assert kind in (b'+', b'-', b':'), line
        return line.decode()

    def __call__(self, *words):
        self.send(*words)
        return self.answer()

    def all(self, commands):
        """The answers to many commands, sent in rows."""
        commands, answers = list(commands), []
        for at in range(0, len(commands), ROW):
            for words in commands[at:at + ROW]:
                self.send(*words)
            answers += [self.answer() for _ in commands[at:at + ROW]]
        return answers


def start():
    if not os.path.lexists('redis-server'):
        os.symlink(shutil.which('redis-check-rdb'), 'redis-server')
    server = subprocess.Popen(['./redis-server', '--port', '0', '--unixsocket', SOCKET, '--save', '', '--dir', '.',
                               '--io-threads', '2', '--enable-debug-command', 'yes', '--daemonize', 'no'],
                              stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            client = Client()
            if client('ping') == '+PONG':
                return server, client
        except (OSError, AssertionError):
            pass
        time.sleep(0.02)
    sys.exit('redis-server does not answer')


def stop(server, client):
    client.send('shutdown', 'nosave')
    print('the server ended with', server.wait())


def value(number):
    """From 1 byte to 200 KB, most of them small."""
    size = 1 + number * 7919 % (200_000 if number % 50 == 0 else 5000 if number % 5 == 0 else 200)
    return (b'%d:' % number * (size // 2 + 1))[:size]


def check(client, keys):
    digest = hashlib.sha256()
    for number, got in enumerate(client.all(('get', f'key:{number}') for number in range(keys))):
        if number % 3 == 1:
            assert got is None, number
        elif number % 7 == 0:
            assert got == value(number) + b'x' * (number % 300), number
        else:
            assert got == value(number), number
        digest.update(got or b'-')
    print('keys', client('dbsize'), digest.hexdigest(), client('debug', 'digest'))
    others = [client('lrange', 'list', 0, -1), client('zrange', 'sorted', 0, -1, 'withscores'),
              sorted(client('smembers', 'set')), sorted(client('hgetall', 'hash'))]
    print(hashlib.sha256(repr(others).encode()).hexdigest())


def main(keys):
    server, client = start()
    assert set(client.all(('set', f'key:{n}', value(n)) for n in range(keys))) == {'+OK'}
    client.all(command for n in range(keys) for command in (
        ('rpush', 'list', value(n)[:300]), ('zadd', 'sorted', n * 31 % 1009, f'member {n}'),
        ('sadd', 'set', f'element {n * 17 % 4099}'), ('hset', 'hash', f'field {n}', value(n)[:100])))
    assert set(client.all(('del', f'key:{n}') for n in range(1, keys, 3))) == {':1'}
    client.all(('append', f'key:{n}', b'x' * (n % 300)) for n in range(0, keys, 7) if n % 3 != 1)
    check(client, keys)
    done = subprocess.run(['redis-benchmark', '-s', SOCKET, '-q', '-n', '2000', '-P', '8', '-r', '1000', '-d', '3000',
                           '-t', 'set,get,incr,lpush,rpop,sadd,hset,spop,zadd,mset'],
                          stdout=subprocess.PIPE, check=False)
    print('redis-benchmark', done.returncode, done.stdout.count(b'requests per second'))
    for name in ('mylist', 'myset', 'myhash', 'myzset', 'counter:__rand_int__'):
        client('del', name)
    client('eval', "for _, k in ipairs(redis.call('keys', '*:0000*')) do redis.call('del', k) end", 0)
    check(client, keys)
    print(client('save'), client('bgrewriteaof'))
    stop(server, client)
    server, client = start()    # reads dump.rdb
    check(client, keys)
    print(client('memory', 'purge'), client('flushall'), client('dbsize'))
    stop(server, client)
    shutil.rmtree('appendonlydir', ignore_errors=True)
    for name in ('dump.rdb', 'redis-server'):
        os.unlink(name)


QUICK = {'redis-benchmark, redis-server: set, read back, reload': 'python3 "$GROUP" 1000'}
LONG = {'redis-benchmark, redis-server: more keys': 'python3 "$GROUP" 5000'}

if __name__ == '__main__':
    main(int(sys.argv[1]))
